import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdray.report.searches.front import dominates, front, growth, hypervolume

Points = list[tuple[float, ...]]


def clouds(size: int) -> st.SearchStrategy[Points]:
    """Few points of few values, so that there are ties and repeats."""
    return st.lists(st.tuples(*[st.integers(0, 6).map(float)] * size), min_size=1, max_size=12)


def test_a_front_by_hand() -> None:
    points = [(1.0, 5.0), (2.0, 2.0), (3.0, 3.0), (5.0, 1.0), (1.0, 6.0), (2.0, 2.0)]
    # (3, 3) loses to (2, 2) and (1, 6) to (1, 5); the same point twice is on it twice
    assert front(points) == [0, 1, 3, 5]
    # of one objective, all that are as good as the best
    assert front([(3.0,), (1.0,), (1.0,)]) == [1, 2]
    assert front([]) == []


@given(st.sampled_from([1, 2, 3]).flatmap(clouds))
def test_nothing_on_the_front_is_beaten_and_everything_else_is(points: Points) -> None:
    kept = set(front(points))
    for index, point in enumerate(points):
        is_beaten = any(dominates(other, point) for other in points)
        assert (index in kept) != is_beaten


def test_hypervolumes_by_hand() -> None:
    # two boxes, 3 × 1 and 1 × 3, that share the unit square
    assert hypervolume([(1.0, 3.0), (3.0, 1.0)], (4.0, 4.0)) == 5.0
    # a beaten point adds nothing, nor does one that is not better than the reference in everything
    assert hypervolume([(1.0, 3.0), (3.0, 1.0), (3.5, 3.5), (0.0, 4.0)], (4.0, 4.0)) == 5.0
    assert hypervolume([(5.0, 1.0)], (4.0, 4.0)) == 0.0
    assert hypervolume([(1.5,), (0.5,)], (2.0,)) == 1.5
    # three boxes of 3 × 1 × 1 that share a unit cube: 3 × 3 − 2
    assert hypervolume([(0.0, 2.0, 2.0), (2.0, 0.0, 2.0), (2.0, 2.0, 0.0)], (3.0, 3.0, 3.0)) == 7.0


@pytest.mark.parametrize("size", [2, 3])
def test_hypervolume_counts_the_beaten_cells(size: int) -> None:
    @given(clouds(size))
    def check(points: Points) -> None:
        # whole numbers make cells that are beaten wholly or not at all
        cells = itertools.product(range(7), repeat=size)
        beaten = sum(any(all(a <= b for a, b in zip(point, cell, strict=True)) for point in points) for cell in cells)
        assert hypervolume(points, (7.0,) * size) == beaten

    check()


@given(st.sampled_from([2, 3]).flatmap(clouds))
def test_hypervolume_never_falls_with_more_points(points: Points) -> None:
    reference = (5.0,) * len(points[0])
    volumes = growth(points, reference)
    assert volumes == sorted(volumes)
    # each is the volume of all points so far
    assert volumes == [pytest.approx(hypervolume(points[: n + 1], reference)) for n in range(len(points))]
