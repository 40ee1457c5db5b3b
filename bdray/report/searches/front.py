"""Points of several objectives, in each of which less is better. All functions are pure and know nothing of studies."""

from collections.abc import Sequence

Losses = Sequence[float]
"""One number per objective."""


def dominates(one: Losses, other: Losses) -> bool:
    """Whether ``one`` is nowhere worse than ``other`` and somewhere better."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def front(points: Sequence[Losses]) -> list[int]:
    """Indices of the points that no other dominates, in the order given; equal points share their fate."""
    # Whatever dominates a point is lexicographically before it, and is dominated itself by one that stays.
    order = sorted(range(len(points)), key=lambda index: tuple(points[index]))
    kept: list[int] = []
    for index in order:
        if not any(dominates(points[best], points[index]) for best in kept):
            kept.append(index)
    return sorted(kept)


def hypervolume(points: Sequence[Losses], reference: Losses) -> float:
    """Volume of all that some point dominates and that is better than ``reference`` in every objective.

    Exact for any number of objectives, by slices along the first of them (Knowles 2002; Zitzler 2001); made for fronts
    of tens of points.
    """
    inside = sorted({tuple(point) for point in points if all(a < b for a, b in zip(point, reference, strict=True))})
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - inside[0][0]
    volume = 0.0
    ends = [point[0] for point in inside[1:]] + [reference[0]]
    for index, (point, end) in enumerate(zip(inside, ends, strict=True)):
        if end > point[0]:
            rest = [found[1:] for found in inside[: index + 1]]
            volume += (end - point[0]) * hypervolume(rest, reference[1:])
    return volume


def growth(points: Sequence[Losses], reference: Losses) -> list[float]:
    """The hypervolume of the first point, of the first two, and so on: it never falls."""
    volumes: list[float] = []
    best: list[Losses] = []
    for point in points:
        if not any(dominates(other, point) or tuple(other) == tuple(point) for other in best):
            best = [other for other in best if not dominates(point, other)] + [point]
            volumes.append(max(hypervolume(best, reference), volumes[-1] if volumes else 0.0))
        else:
            volumes.append(volumes[-1])
    return volumes
