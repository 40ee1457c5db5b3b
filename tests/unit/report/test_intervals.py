import math
import random

import pytest
from scipy import stats

from bdray.report.intervals import bootstrap, few_seeds_note, t_reach, wilson
from bdray.report.statistics import estimate

Z = 1.959963984540054


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # nothing of ten: z² / (n + z²); ten of ten is its mirror image
        (0, 10, 0.0, Z**2 / (10 + Z**2)),
        (10, 10, 10 / (10 + Z**2), 1.0),
        (5, 10, 0.236593, 0.763407),
        # Newcombe (1998), Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_by_the_book(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes / n, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_agrees_with_scipy_and_stays_within_bounds() -> None:
    for n in (1, 2, 7, 1486):
        for successes in {0, 1, n // 3, n}:
            expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
            low, high = wilson(successes / n, n)
            # the same as scipy's, and never beyond 0 or 1, not even by rounding
            assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
            assert 0 <= low <= successes / n <= high <= 1


def test_wilson_covers_95_percent() -> None:
    rng = random.Random(0)
    for rate in (0.03, 0.5):
        bounds = [wilson(sum(rng.random() < rate for _ in range(60)) / 60, 60) for _ in range(1500)]
        # the true rate lies within in about 95% of samples, also near the end
        assert 0.92 < sum(low <= rate <= high for low, high in bounds) / 1500 < 0.98


def test_t_covers_95_percent_of_few_seeds() -> None:
    rng = random.Random(1)
    found = [estimate([rng.gauss(0.3, 0.1) for _ in range(3)]) for _ in range(1500)]
    # which a normal interval over three seeds does not
    assert 0.93 < sum(e.low <= 0.3 <= e.high for e in found) / 1500 < 0.97
    assert sum(abs(e.mean - 0.3) <= e.half_width / t_reach(3) * Z for e in found) / 1500 < 0.87


def test_reach_of_few_seeds() -> None:
    # t(0.975) of 1, 2 and 9 degrees of freedom, from a table
    assert [t_reach(n) for n in (2, 3, 10)] == pytest.approx([12.7062, 4.30265, 2.26216], abs=1e-4)


def test_few_seeds_are_told_how_little_they_say() -> None:
    note = few_seeds_note([3, 2, 3, 1, 5])
    assert "12.7 (2 seeds) and 4.3 (3 seeds) standard errors to either side, against 2.3 with 10 seeds" in note
    assert "little is known, not that there is no effect" in note
    # a single seed has no interval to warn of, and four are let pass
    assert few_seeds_note([1, 4, 9]) == ""


def test_bootstrap_agrees_with_a_resampling_by_hand() -> None:
    values = [0.1, 0.2, 0.4, 0.8, 0.3, 0.35, 0.5]
    low, high = bootstrap(values)
    means = sorted(sum(random.Random(seed).choices(values, k=7)) / 7 for seed in range(4000))
    # close to the percentiles, a little to the right as the values are skewed, and within what was seen
    assert low == pytest.approx(means[100], abs=0.03)
    assert high == pytest.approx(means[3900], abs=0.06)
    assert high > means[3900]
    assert 0.1 < low < sum(values) / 7 < high < 0.8


def test_bootstrap_is_a_function_of_the_values() -> None:
    # in whatever order the seeds came in
    assert bootstrap([0.1, 0.9, 0.4, 0.3]) == bootstrap([0.9, 0.3, 0.1, 0.4])


def test_equal_values_have_an_interval_of_no_width() -> None:
    # BCa is not defined for them, and nothing divides by zero
    assert bootstrap([0.25] * 4) == (0.25, 0.25)
    assert bootstrap([0.0] * 5) == (0.0, 0.0)


def test_a_bootstrap_of_three_is_refused_and_an_estimate_falls_back() -> None:
    with pytest.raises(ValueError, match="at least 4 values, not 3"):
        bootstrap([0.1, 0.2, 0.3])
    # to t, which is also the default with enough
    assert estimate([0.1, 0.2, 0.3], "bootstrap") == estimate([0.1, 0.2, 0.3])
    assert estimate([0.1, 0.2, 0.3, 0.9]).bounds is None


def test_estimate_by_bootstrap_need_not_be_even() -> None:
    values = [0.0, 0.0, 0.0, 0.0, 0.9]
    found = estimate([*values, math.nan], "bootstrap")
    # t would reach below zero, where no rate is
    assert estimate(values).low < 0
    assert (found.low, found.high) == bootstrap(values)
    assert found.low == 0
    assert found.high - found.mean > found.mean - found.low
    assert found.n == 5
