"""Where scatter plots put their limits and their numbers."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdray.report.figures.numbers import FONT_SIZE, POINT, arrange
from bdray.report.figures.window import window
from bdray.report.study import Metric

CA = Metric(name="clean_accuracy_top1", label="CA", goal="max")
INSIDE = (0.0, 0.0, 300.0, 300.0)


def overlap(one: tuple[float, float], other: tuple[float, float], width: float, height: float) -> bool:
    return abs(one[0] - other[0]) < width and abs(one[1] - other[1]) < height


@pytest.mark.parametrize("seed", range(20))
def test_numbers_of_a_front_never_overlap(seed: int) -> None:
    rng = random.Random(seed)
    front = sorted((rng.uniform(20, 280), rng.uniform(20, 280)) for _ in range(10))
    others = [(rng.uniform(20, 280), rng.uniform(20, 280)) for _ in range(30)]
    spots = arrange(front, ["12"] * 10, [*front, *others], INSIDE, 135)
    width, height = 0.64 * 2 * FONT_SIZE, 0.95 * FONT_SIZE
    # neither each other nor a point, and all inside
    assert not any(overlap(a, b, width, height) for a, b in itertools.combinations(spots, 2))
    assert not any(overlap(a, b, width / 2 + POINT, height / 2 + POINT) for a in spots for b in (*front, *others))
    assert all(0 < x < 300 and 0 < y < 300 for x, y in spots)


def test_a_free_point_has_its_number_where_it_should_be() -> None:
    ((x, y),) = arrange([(150.0, 150.0)], ["7"], [(150.0, 150.0)], INSIDE, 135)
    # close by, in the upper left
    assert 135 < x < 150 < y < 165


def test_equal_points_have_different_places() -> None:
    first, second = arrange([(150.0, 150.0)] * 2, ["1", "2"], [(150.0, 150.0)], INSIDE, 135)
    assert first != second


def test_outliers_are_outside() -> None:
    values = [10.0, 11.0, 12.0, 13.0, 14.0, 90.0]
    low, high = window(CA, values, [], [])
    assert low < 10
    assert 14 < high < 16
    # unless they are on the front and not far out
    assert window(CA, [*values[:5], 18.0], [18.0], [])[1] > 18 > window(CA, [*values[:5], 18.0], [], [])[1]
    assert window(CA, values, [90.0], [])[1] < 90


def test_a_figure_is_not_filled_by_nothing() -> None:
    low, high = window(CA, [50.0, 50.01], [], [])
    # two points of a percentage at least
    assert high - low > 2


def test_others_are_shown_if_they_are_near() -> None:
    assert window(CA, [10.0, 12.0], [], [13.5])[1] > 13.5
    assert window(CA, [10.0, 12.0], [], [50.0])[1] < 13


@settings(max_examples=50)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_a_window_is_never_empty(values: list[float]) -> None:
    low, high = window(CA, values, values[:1], [])
    assert low < high
    # at least half of the points are in it
    assert sum(low <= value <= high for value in values) * 2 >= len(values)
