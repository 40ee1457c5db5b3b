"""How a metric scales with a size: which law says so, how sure that is, and how far beyond the data it is stretched.

The law is chosen by leave-one-level-out cross validation: each size is predicted from all others, and the simplest law
wins whose mean error is within one standard error of the best one's (Breiman et al. 1984, section 3.4.3). That is the
standard error of the difference, size by size: sizes that are hard for both laws do not tell them apart. So a constant
wins ties. Intervals come from a bootstrap over seeds: the runs of a seed share a victim or a base, so they stay
together. Every function is pure.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import PositiveFloat

from bdray.registry import component
from bdray.report.intervals import CONFIDENCE
from bdray.report.laws import LAWS, Fit, Law, Levels
from bdray.report.least_squares import fit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Curves = Mapping[int, Mapping[float, float]]
"""A metric by seed and size; NaN where it is missing."""

RESAMPLES = 1000
_TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
RESOLUTION = 1e-6
"""Of predictions, in parts of the largest value: a search for the least squares ends somewhere."""
SPARE_LEVELS = 2
"""Sizes that a law needs beyond its parameters: one is held out, and its fit to the others must not be able to go
through all of them whatever they are."""
MIN_LEVELS = 3
"""Which is as many as the papers print. Of so few only one size is spared, or a constant would compete with itself."""


@component
class Scaling:
    """What makes a study one of scaling: laws are fitted to its metrics over the sizes of its only axis."""

    extrapolate_to: tuple[PositiveFloat, ...] = ()
    """Sizes beyond the measured ones at which the chosen law is read off."""
    log_axis: bool = True
    """Whether figures have a logarithmic axis of sizes."""


@dataclass(frozen=True)
class Candidate:
    """One law that was tried."""

    law: Law
    fit: Fit | None
    """To all levels; None if the law cannot be fitted."""
    errors: tuple[float, ...] = ()
    """Absolute error at every level when it is held out; empty if that is not possible."""
    problem: str = ""
    """Why it is out of the race."""

    @property
    def error(self) -> float:
        """Mean error at levels held out; infinite out of the race."""
        return math.fsum(self.errors) / len(self.errors) if self.errors else math.inf

    @property
    def standard_error(self) -> float:
        """Of :attr:`error`, over the levels."""
        n = len(self.errors)
        return math.sqrt(math.fsum((e - self.error) ** 2 for e in self.errors) / (n - 1) / n) if n > 1 else math.inf


@dataclass(frozen=True)
class Bootstrap:
    """The chosen law, fitted again to resampled seeds."""

    fits: tuple[Fit, ...]
    """Of the resamples that could be fitted."""
    num_seeds: int
    num_resamples: int

    @property
    def num_distinct(self) -> int:
        """So many different resamples there are at all: n seeds out of n, in any order."""
        return math.comb(2 * self.num_seeds - 1, self.num_seeds)

    def band(self, sizes: "Sequence[float] | Floats") -> "tuple[Floats, Floats]":
        """Lower and upper end of the 95% percentile interval of the curve at some sizes."""
        import numpy as np

        low, high = np.quantile([one.predict(sizes) for one in self.fits], _TAILS, axis=0)
        return low, high

    def interval(self, parameter: str) -> tuple[float, float]:
        """The same of a parameter."""
        import numpy as np

        low, high = np.quantile([one.parameters[parameter] for one in self.fits], _TAILS)
        return float(low), float(high)


@dataclass(frozen=True)
class Scaled:
    """What :func:`scale` found."""

    levels: Levels
    left_out: tuple[float, ...]
    """Sizes that have no logarithm."""
    candidates: tuple[Candidate, ...]
    chosen: Candidate | None
    bootstrap: Bootstrap | None
    """None without a choice, and where there are not two seeds."""
    problem: str = ""
    """Why nothing was chosen."""

    @property
    def fit(self) -> Fit | None:
        """The chosen law."""
        return self.chosen.fit if self.chosen else None

    @property
    def residuals(self) -> tuple[float, ...]:
        """Mean minus chosen law at each level; none without a choice."""
        if self.fit is None:
            return ()
        return tuple(y - float(p) for y, p in zip(self.levels.means, self.fit.predict(self.levels.sizes), strict=True))


def scale(curves: Curves, *, is_rate: bool, resamples: int = RESAMPLES, seed: int = 0) -> Scaled:
    """Fit every law, choose one, and bootstrap it over seeds. The order of seeds and sizes does not matter.

    Args:
        curves: What was measured. Missing (NaN) values are left out, and so are sizes that have no logarithm.
        is_rate: Whether the metric is a fraction, which only some laws are for.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """
    levels = levels_of(curves, sorted(curves))
    found = sorted({size for curve in curves.values() for size, y in curve.items() if size <= 0 and not math.isnan(y)})
    if len(levels) < MIN_LEVELS:
        problem = f"only {len(levels)} sizes have a result, and a law with its test needs {MIN_LEVELS}"
        return Scaled(levels, tuple(found), (), None, None, problem)
    candidates = tuple(try_law(law, levels, is_rate=is_rate) for law in LAWS if law.for_rates in (None, is_rate))
    chosen = choose(candidates, RESOLUTION * max(map(abs, levels.means)))
    if chosen is None or chosen.fit is None:
        return Scaled(levels, tuple(found), candidates, None, None, "no law could be fitted")
    return Scaled(levels, tuple(found), candidates, chosen, bootstrap(curves, chosen.fit, resamples, seed))


def levels_of(curves: Curves, seeds: Sequence[int]) -> Levels:
    """Means over seeds, of which some may occur repeatedly."""
    values: dict[float, list[float]] = {}
    for seed in seeds:
        for size, value in curves[seed].items():
            if size > 0 and not math.isnan(value):
                values.setdefault(float(size), []).append(value)
    sizes = sorted(values)
    means = tuple(math.fsum(values[size]) / len(values[size]) for size in sizes)
    return Levels(tuple(sizes), means, tuple(float(len(values[size])) for size in sizes))


def try_law(law: Law, levels: Levels, *, is_rate: bool) -> Candidate:
    """Fit a law to all levels, and to all but each one in turn to predict that one."""
    need = law.num_parameters + (SPARE_LEVELS if len(levels) > MIN_LEVELS else 1)
    if len(levels) < need:
        return Candidate(law, None, problem=f"needs {need} sizes, or it fits any that are left without one of them")
    whole = fit(law, levels, is_rate=is_rate)
    if whole is None:
        return Candidate(law, None, problem="its fit did not converge")
    errors = []
    for index, (size, mean) in enumerate(zip(levels.sizes, levels.means, strict=True)):
        part = fit(law, levels.without(index), is_rate=is_rate)
        if part is None:
            return Candidate(law, whole, problem=f"its fit without {size:g} did not converge")
        errors.append(abs(float(part.predict([size])[0]) - mean))
    return Candidate(law, whole, tuple(errors))


def choose(candidates: Sequence[Candidate], resolution: float = 0.0) -> Candidate | None:
    """The simplest law within one standard error of the best; among equally simple ones that of the smaller error.

    Args:
        candidates: All that were tried.
        resolution: Difference of errors that is rounding.
    """
    equals = near_best(candidates, resolution)
    return min(equals, key=lambda one: (one.law.num_parameters, one.error)) if equals else None


def near_best(candidates: Sequence[Candidate], resolution: float = 0.0) -> list[Candidate]:
    """The law of the smallest error and all that the data do not tell from it.

    Those are the laws whose errors exceed the best one's by no more than one standard error of the difference.
    """
    racing = [one for one in candidates if one.errors]
    if not racing:
        return []
    best = min(racing, key=lambda one: one.error)
    return [one for one in racing if _is_near(one, best, resolution)]


def _is_near(one: Candidate, best: Candidate, resolution: float) -> bool:
    excess = Candidate(one.law, None, tuple(e - b for e, b in zip(one.errors, best.errors, strict=True)))
    return excess.error <= excess.standard_error + resolution


def bootstrap(curves: Curves, chosen: Fit, resamples: int, seed: int) -> Bootstrap | None:
    """Fit a law to seeds drawn with replacement; equal draws are fitted once."""
    import numpy as np

    seeds = sorted(seed for seed, curve in curves.items() if any(x > 0 and y == y for x, y in curve.items()))
    if len(seeds) < 2:
        return None
    rng = np.random.default_rng([seed, 0x5CA1E])
    draws = [tuple(sorted(draw)) for draw in rng.choice(seeds, size=(resamples, len(seeds))).tolist()]
    known: dict[tuple[int, ...], Fit | None] = {}
    for draw in dict.fromkeys(draws):
        levels = levels_of(curves, draw)
        is_enough = len(levels) >= chosen.law.num_parameters
        known[draw] = fit(chosen.law, levels, is_rate=chosen.is_rate, held=chosen.held) if is_enough else None
    fits = tuple(one for draw in draws if (one := known[draw]) is not None)
    return Bootstrap(fits, len(seeds), resamples) if fits else None


def how_far(size: float, levels: Levels) -> str:
    """Where a size lies, in words: ``×4 beyond the largest measured``."""
    smallest, largest = levels.sizes[0], levels.sizes[-1]
    if size > largest:
        return f"×{size / largest:.3g} beyond the largest measured"
    return f"×{smallest / size:.3g} below the smallest measured" if size < smallest else "within the measured sizes"
