"""Small numbers beside points, none over another or over a point where there is room."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONT_SIZE = 8.0
POINT = 3.2
"""Half of the side of a point, in typographic points."""
RADII = (3.5, 9.0, 16.0, 24.0, 34.0)
"""Room between a point and its number."""
REACH = 90.0
"""Beyond all spots of a point, so that what is farther away need not be looked at."""
TURNS = (0, 30, -30, 60, -60, 90, -90, 120, -120, 150, -150, 180)
"""Degrees away from the preferred direction."""
Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


def write_numbers(
    axes: "Axes",
    places: Sequence[tuple[float, float]],
    texts: Sequence[str],
    others: Sequence[tuple[float, float]],
    color: str,
    angle: float,
) -> None:
    """Write a text beside each place, with a thin line to those that had to move away.

    Args:
        axes: With final limits and place.
        places: In data units.
        texts: One per place.
        others: Further points that texts should not cover, in data units.
        color: Of the texts.
        angle: Direction in degrees in which texts stand if they can.
    """
    figure = axes.get_figure(root=True)
    if figure is None or not places:
        return
    scale = 72 / figure.dpi
    found = [tuple(axes.transData.transform(place) * scale) for place in (*places, *others)]
    points = [(float(x), float(y)) for x, y in found]
    corners = axes.get_window_extent().get_points() * scale
    inside = (float(corners[0][0]), float(corners[0][1]), float(corners[1][0]), float(corners[1][1]))
    own = points[: len(places)]
    for place, point, spot, text in zip(places, own, arrange(own, texts, points, inside, angle), texts, strict=True):
        shift = spot[0] - point[0], spot[1] - point[1]
        is_far = math.hypot(*shift) > 18
        axes.annotate(
            text, place, xytext=shift, textcoords="offset points", ha="center", va="center", fontsize=FONT_SIZE,
            fontweight="bold", color=color, zorder=8, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.6, "shrinkA": 5, "shrinkB": 3} if is_far else None,
        )  # fmt: skip


def arrange(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    obstacles: Sequence[tuple[float, float]],
    inside: Box,
    angle: float,
) -> list[tuple[float, float]]:
    """Centers for the texts of points, all in typographic points: each in turn takes the best spot that is left."""
    taken = [(x - POINT, y - POINT, x + POINT, y + POINT) for x, y in obstacles]
    spots = []
    for point, text in zip(points, texts, strict=True):
        size = 0.7 * FONT_SIZE * len(text) + 3, 1.0 * FONT_SIZE
        near = [box for box in taken if abs(box[0] - point[0]) < REACH and abs(box[1] - point[1]) < REACH]
        options = [_spot(point, size, radius, angle + turn) for radius in RADII for turn in TURNS]
        costs = [
            sum(_overlap(_box(spot, size), box) for box in near) + 5 * _outside(_box(spot, size), inside) + 0.02 * rank
            for rank, spot in enumerate(options)
        ]
        spots.append(options[costs.index(min(costs))])
        taken.append(_box(spots[-1], size))
    return spots


def _spot(point: tuple[float, float], size: tuple[float, float], radius: float, degrees: float) -> tuple[float, float]:
    """Center of a text that leaves so much room to its point in a direction."""
    x, y = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return point[0] + x * (radius + POINT + size[0] / 2), point[1] + y * (radius + POINT + size[1] / 2)


def _box(center: tuple[float, float], size: tuple[float, float]) -> Box:
    return center[0] - size[0] / 2, center[1] - size[1] / 2, center[0] + size[0] / 2, center[1] + size[1] / 2


def _overlap(one: Box, other: Box) -> float:
    """Common area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: Box, inside: Box) -> float:
    """Area outside."""
    return (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, inside)
