"""Means, intervals, differences and trends over seeds. Every function is pure and knows nothing of studies."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bdray.report.intervals import MIN_BOOTSTRAP, bootstrap, t_reach

Interval = Literal["t", "bootstrap"]
"""How an interval over seeds is made: Student's t, or BCa bootstrap (and t where there are too few seeds for it)."""


@dataclass(frozen=True)
class Estimate:
    """The mean of one quantity over seeds."""

    mean: float
    """NaN if there is no value at all."""
    half_width: float
    """Half of the 95% interval, which is mean ± half_width if it is Student's. NaN if fewer than two seeds have a
    value."""
    n: int
    """Number of seeds with a value."""
    bounds: tuple[float, float] | None = None
    """Ends of a bootstrap's interval, which need not lie evenly around the mean."""

    @property
    def low(self) -> float:
        return self.bounds[0] if self.bounds else self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.bounds[1] if self.bounds else self.mean + self.half_width

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero; never with a single seed, which has no interval."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Trend:
    """Rank correlation of a metric with the values of an axis."""

    of_means: float
    """Spearman's ρ of the mean curve; NaN where it is not defined."""
    by_seed: dict[int, float]
    """Spearman's ρ of each seed's own curve, for the seeds where it is defined."""

    @property
    def spread(self) -> tuple[float, float] | None:
        """Lowest and highest ρ of any seed."""
        return (min(self.by_seed.values()), max(self.by_seed.values())) if self.by_seed else None


def estimate(values: Sequence[float], interval: Interval = "t") -> Estimate:
    """Mean with a two-sided 95% interval over seeds; missing (NaN) values are left out.

    A bootstrap needs some seeds; with fewer than :data:`~bdray.report.intervals.MIN_BOOTSTRAP` the interval is t's.
    """
    present = [value for value in values if not math.isnan(value)]
    n = len(present)
    if n == 0:
        return Estimate(math.nan, math.nan, 0)
    mean = math.fsum(present) / n
    if n == 1:
        return Estimate(mean, math.nan, 1)
    if interval == "bootstrap" and n >= MIN_BOOTSTRAP:
        low, high = bootstrap(present)
        return Estimate(mean, (high - low) / 2, n, (low, high))
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in present) / (n - 1))
    return Estimate(mean, t_reach(n) * deviation / math.sqrt(n), n)


def paired_difference(before: Mapping[int, float], after: Mapping[int, float], interval: Interval = "t") -> Estimate:
    """Mean of ``after - before`` over the seeds that have both: seeds share a victim, so differences pair up."""
    return estimate([after[seed] - before[seed] for seed in sorted(before.keys() & after.keys())], interval)


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rank correlation, ties sharing their mean rank.

    NaN for fewer than three points, and where either side is constant: there is no order to correlate.
    """
    points = [(a, b) for a, b in zip(x, y, strict=True) if not (math.isnan(a) or math.isnan(b))]
    if len(points) < 3 or len({a for a, _ in points}) == 1 or len({b for _, b in points}) == 1:
        return math.nan
    from scipy.stats import spearmanr

    return float(spearmanr([a for a, _ in points], [b for _, b in points]).statistic)


def trend(curves: Mapping[int, Mapping[float, float]]) -> Trend:
    """How a metric moves with an axis.

    Args:
        curves: For each seed, metric by axis value. A seed may lack values; the mean curve uses what is there.
    """
    values = sorted({value for curve in curves.values() for value in curve})
    means = [estimate([curve[value] for curve in curves.values() if value in curve]).mean for value in values]
    by_seed = {seed: spearman(list(curve), list(curve.values())) for seed, curve in sorted(curves.items())}
    return Trend(spearman(values, means), {seed: rho for seed, rho in by_seed.items() if not math.isnan(rho)})
