import math
import random

import pytest
from scipy import stats

from bdray.report.significance import holm, paired_test, welch_test

BEFORE = {0: 0.95, 1: 0.90, 2: 0.97, 3: 0.93}
AFTER = {0: 0.20, 1: 0.35, 2: 0.15, 3: 0.31}


def test_paired_test_agrees_with_scipy() -> None:
    found = paired_test(BEFORE, AFTER)
    expected = stats.ttest_rel(list(AFTER.values()), list(BEFORE.values()))
    interval = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high))
    # the difference over the seeds' standard deviation, pooled over both sides
    spread = math.sqrt((stats.tvar(list(BEFORE.values())) + stats.tvar(list(AFTER.values()))) / 2)
    assert found.effect == pytest.approx(found.difference.mean / spread)
    assert found.verdict == "beyond seed noise"


def test_only_common_seeds_count() -> None:
    found = paired_test(BEFORE | {7: 0.5}, AFTER | {9: 0.5, 1: math.nan})
    # seeds 0, 2 and 3: a missing value is no zero
    assert found.difference.n == 3
    assert paired_test({0: 1.0}, {1: 1.0}).verdict == "no common seed"


def test_a_single_seed_has_a_difference_and_nothing_else() -> None:
    found = paired_test({0: 0.9}, {0: 0.4})
    assert found.difference.mean == pytest.approx(-0.5)
    assert math.isnan(found.p)
    assert math.isnan(found.effect)
    assert found.verdict == "single seed"


def test_differences_that_do_not_vary_have_no_p_value() -> None:
    # 1 to 0 with every seed: a t-statistic would divide by zero, or by a rounding error
    for before, after in (([1.0, 1.0], [0.0, 0.0]), ([0.3, 0.6, 0.9], [0.1, 0.4, 0.7])):
        found = paired_test(dict(enumerate(before)), dict(enumerate(after)))
        assert math.isnan(found.p)
        assert found.verdict == "beyond seed noise"
    same = paired_test(BEFORE, BEFORE)
    assert (same.difference.mean, same.verdict) == (0, "within seed noise")
    assert math.isnan(same.p)


def test_welch_agrees_with_scipy() -> None:
    before, after = [0.95, 0.90, 0.97], [0.20, 0.55, 0.15, 0.31]
    found = welch_test([*before, math.nan], after)
    expected = stats.ttest_ind(after, before, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high))
    # it rests on no more seeds than the smaller side has
    assert (found.difference.n, found.is_paired) == (3, False)


@pytest.mark.parametrize(("before", "after"), [([], [0.5]), ([0.5], [0.1, 0.2]), ([0.5, 0.5], [0.1, 0.1])])
def test_welch_without_enough(before: list[float], after: list[float]) -> None:
    # nothing divides by zero
    assert math.isnan(welch_test(before, after).p)


def test_holm_by_hand() -> None:
    # Holm (1979): 4 · 0.005, 3 · 0.01, 2 · 0.03, and 0.04 not below the one before; R's p.adjust gives the same
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])


def test_holm_keeps_to_one_and_does_not_count_what_is_missing() -> None:
    found = holm([0.9, math.nan, 0.6])
    assert found[0] == found[2] == 1
    assert math.isnan(found[1])
    # a single test needs no adjustment
    assert holm([math.nan, 0.04]) == pytest.approx([math.nan, 0.04], nan_ok=True)
    assert holm([]) == []


def test_holm_keeps_false_claims_to_five_percent() -> None:
    rng = random.Random(3)
    claims = raw = 0
    for _ in range(400):
        sides = [[{seed: rng.gauss(0, 1) for seed in range(5)} for _ in range(2)] for _ in range(8)]
        tests = [paired_test(before, after).p for before, after in sides]
        claims, raw = claims + (min(holm(tests)) < 0.05), raw + (min(tests) < 0.05)
    # of families of eight differences of nothing; without adjustment every third family has one
    assert claims / 400 < 0.08
    assert raw / 400 > 0.25
