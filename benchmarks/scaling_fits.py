"""How often the report's fits of scaling are right, by simulation.

Usage: python benchmarks/scaling_fits.py    (takes minutes)

Prints how often another law than the constant wins where nothing moves, and how often the bootstrap's 95% interval
holds the true mean of seeds whose midpoints differ.
"""

import math
from collections import Counter

import numpy as np

from bdray.report.laws import LAWS
from bdray.report.least_squares import fit
from bdray.report.scaling import bootstrap, choose, levels_of, try_law

SIZES = (3.0, 10.0, 30.0, 100.0, 300.0)
TRIALS = 150
SPREAD, NOISE = 0.3, 0.01
"""Standard deviations of ln midpoint over seeds, and of each rate."""


def logistic(size: float, shift: float) -> float:
    """A rate that is half at 28."""
    return 1 / (1 + math.exp(-(math.log(size / 28) - shift) / 0.5))


def choices(noise: float, rng: np.random.Generator) -> Counter[str]:
    """Which law wins over five sizes and three seeds of a constant rate of 40%."""
    won: Counter[str] = Counter()
    laws = [law for law in LAWS if law.for_rates is not False]
    for _ in range(TRIALS):
        rates = np.clip(0.4 + rng.normal(0, noise, (3, len(SIZES))), 0, 1)
        levels = levels_of(
            {seed: dict(zip(SIZES, map(float, row), strict=True)) for seed, row in enumerate(rates)}, [0, 1, 2]
        )
        best = choose([try_law(law, levels, is_rate=True) for law in laws])
        won[best.law.name if best else "none"] += 1
    return won


def coverage(num_seeds: int, rng: np.random.Generator) -> float:
    """Share of bootstrap intervals at 30 that hold the mean over all seeds that there could be."""
    truth = float(np.mean([logistic(30, shift) for shift in np.random.default_rng(0).normal(0, SPREAD, 20_000)]))
    law = next(law for law in LAWS if law.name == "logistic between 0 and 1")
    held = 0
    for _ in range(TRIALS):
        curves = {}
        for seed in range(num_seeds):
            shift = rng.normal(0, SPREAD)
            curves[seed] = {size: min(1.0, max(0.0, logistic(size, shift) + rng.normal(0, NOISE))) for size in SIZES}
        found = fit(law, levels_of(curves, range(num_seeds)), is_rate=True)
        boot = bootstrap(curves, found, 300, 0) if found else None
        if boot:
            (low,), (high,) = boot.band([30.0])
            held += bool(low <= truth <= high)
    return held / TRIALS


def main() -> None:
    """Simulate and print."""
    rng = np.random.default_rng(1)
    for noise in (0.02, 0.08):
        won = choices(noise, rng)
        print(f"constant, noise {noise:.0%}: another law wins in {1 - won['constant'] / TRIALS:.0%}  {dict(won)}")
    for num_seeds in (3, 5):
        print(f"{num_seeds} seeds: 95% intervals hold the truth in {coverage(num_seeds, rng):.0%}")


if __name__ == "__main__":
    main()
