"""Tests of differences, and what to do when there are several. Pure functions that know nothing of studies."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bdray.report.intervals import t_reach
from bdray.report.statistics import Estimate, Interval, estimate

EQUAL = 1e-12
"""Differences that are apart by no more are equal: rates are quotients of counts, rounded."""


@dataclass(frozen=True)
class Contrast:
    """A difference of two means over seeds."""

    difference: Estimate
    """Later minus earlier, with the number of seeds (or pairs of seeds) that it rests on."""
    p: float
    """Two-sided p-value of Student's or Welch's t-test; NaN with a single seed, or if nothing varies."""
    noise: float
    """Standard deviation over seeds of what is compared, pooled over both sides; NaN with a single seed."""
    is_paired: bool

    @property
    def effect(self) -> float:
        """The difference in units of the seeds' standard deviation (Cohen's d); NaN where that is 0 or not known."""
        return self.difference.mean / self.noise if self.noise > EQUAL else math.nan

    @property
    def verdict(self) -> str:
        """In words: whether the interval holds zero, or that there is none."""
        if self.difference.n == 0:
            return "no common seed" if self.is_paired else "no result"
        if math.isnan(self.difference.half_width):
            return "single seed"
        return "beyond seed noise" if self.difference.excludes_zero else "within seed noise"


def paired_test(before: Mapping[int, float], after: Mapping[int, float], interval: Interval = "t") -> Contrast:
    """Compare by seed: seeds that share a victim pair up, and only seeds with both values count."""
    seeds = sorted(seed for seed in before.keys() & after.keys() if not math.isnan(after[seed] - before[seed]))
    differences = [after[seed] - before[seed] for seed in seeds]
    spreads = [_deviation([side[seed] for seed in seeds]) for side in (before, after)]
    noise = math.sqrt(sum(spread**2 for spread in spreads) / 2)
    deviation = _deviation(differences)
    found = estimate(differences, interval)
    p = _p_value(found.mean, deviation / math.sqrt(len(seeds)), len(seeds) - 1) if seeds else math.nan
    return Contrast(found, p, noise, is_paired=True)


def welch_test(before: Sequence[float], after: Sequence[float]) -> Contrast:
    """Compare means of unrelated models (Welch 1947); ``n`` is the smaller number of seeds."""
    sides = [[value for value in side if not math.isnan(value)] for side in (before, after)]
    n = min(map(len, sides))
    if n == 0:
        return Contrast(Estimate(math.nan, math.nan, 0), math.nan, math.nan, is_paired=False)
    means = [math.fsum(side) / len(side) for side in sides]
    mean = means[1] - means[0]
    if n == 1:
        return Contrast(Estimate(mean, math.nan, 1), math.nan, math.nan, is_paired=False)
    spreads = [_deviation(side) for side in sides]
    noise = math.sqrt(sum(spread**2 for spread in spreads) / 2)
    errors = [spread**2 / len(side) for spread, side in zip(spreads, sides, strict=True)]
    if sum(errors) <= EQUAL**2:
        return Contrast(Estimate(mean, 0.0, n), math.nan, noise, is_paired=False)
    freedom = sum(errors) ** 2 / sum(error**2 / (len(side) - 1) for error, side in zip(errors, sides, strict=True))
    error = math.sqrt(sum(errors))
    return Contrast(
        Estimate(mean, t_reach(freedom + 1) * error, n), _p_value(mean, error, freedom), noise, is_paired=False
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted such that the chance of any false claim among all of them stays at 5% (Holm 1979).

    Missing ones (NaN) are no tests: they stay missing and are not counted.
    """
    tests = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    adjusted, highest = [math.nan] * len(p_values), 0.0
    for rank, (p, index) in enumerate(tests):
        highest = max(highest, min(1.0, (len(tests) - rank) * p))
        adjusted[index] = highest
    return adjusted


def _deviation(values: Sequence[float]) -> float:
    """Standard deviation of a sample; NaN for fewer than two values."""
    if len(values) < 2:
        return math.nan
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _p_value(mean: float, error: float, freedom: float) -> float:
    """Of a t-statistic; NaN where the error is not known or zero: then there is nothing to hold the mean against."""
    if math.isnan(error) or error <= EQUAL:
        return math.nan
    from scipy.stats import t

    return float(2 * t.sf(abs(mean) / error, freedom))
