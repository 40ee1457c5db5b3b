import math

import pytest
from scipy import stats

from bdray.report.statistics import estimate, paired_difference, spearman, trend


def test_interval_by_hand() -> None:
    result = estimate([1.0, 2.0, 3.0])
    # s = 1, n = 3 and t(0.975, 2) = 4.302653: half the interval is 4.302653 / sqrt(3)
    assert (result.mean, result.n) == (2.0, 3)
    assert result.half_width == pytest.approx(4.30265273 / math.sqrt(3))
    assert (result.low, result.high) == pytest.approx((2 - 2.48413772, 2 + 2.48413772))


def test_interval_agrees_with_scipy() -> None:
    values = [0.47, 0.31, 0.52, 0.44]
    low, high = stats.t.interval(0.95, 3, loc=sum(values) / 4, scale=stats.sem(values))
    result = estimate(values)
    # the same interval as scipy's own
    assert (result.low, result.high) == pytest.approx((low, high))


def test_single_seed_has_no_interval() -> None:
    result = estimate([0.4])
    # one value is a mean, not an interval, and never "excludes zero"
    assert result.mean == 0.4
    assert math.isnan(result.half_width)
    assert not result.excludes_zero


def test_missing_values_are_left_out() -> None:
    # a missing seed is not a zero
    assert estimate([math.nan, 0.5]).mean == 0.5
    assert estimate([math.nan]).n == 0
    assert math.isnan(estimate([]).mean)


def test_difference_is_paired_by_seed() -> None:
    before, after = {0: 0.9, 1: 0.5, 2: 0.1}, {2: 0.0, 0: 0.8, 1: 0.4, 7: 0.99}
    result = paired_difference(before, after)
    # every seed falls by 0.1, so the interval has no width although the seeds are far apart; seed 7 has no pair
    assert result.mean == pytest.approx(-0.1)
    assert result.half_width == pytest.approx(0, abs=1e-12)
    assert (result.n, result.excludes_zero) == (3, True)


@pytest.mark.parametrize(
    ("y", "rho"),
    [([5, 4, 3, 2], -1.0), ([1, 3, 2, 4], 0.8), ([1, 1, 2, 3], 0.9486832980505138)],
    ids=["strict fall", "one swap", "tie"],
)
def test_spearman_by_hand(y: list[float], rho: float) -> None:
    # ranks, not values, and ties share their mean rank
    assert spearman([0, 1, 10, 100], y) == pytest.approx(rho)


def test_spearman_is_undefined_without_an_order() -> None:
    # two points or a constant have no rank correlation, and nothing is warned about
    assert math.isnan(spearman([0, 1], [1, 2]))
    assert math.isnan(spearman([0, 1, 2], [5, 5, 5]))


def test_trend_of_means_and_of_seeds() -> None:
    found = trend({0: {0: 9, 1: 5, 2: 1}, 1: {0: 9, 1: 2, 2: 4}, 2: {0: 1, 1: 2}})
    # means 19/3, 3, 2.5 fall; seed 1 does so only once; seed 2 has too few points
    assert found.of_means == pytest.approx(-1)
    assert found.by_seed == pytest.approx({0: -1.0, 1: -0.5})
    assert found.spread == pytest.approx((-1.0, -0.5))
