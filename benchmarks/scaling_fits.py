"""How often the report's fits of scaling are right, by simulation.

Usage: python benchmarks/scaling_fits.py [--trials 150]

Prints how often another law than the constant wins where nothing moves, and how often the bootstrap's 95% interval
holds the true mean of seeds whose midpoints differ.
"""

import argparse
import math
from collections import Counter

import numpy as np
import record

from bdray.report.laws import LAWS
from bdray.report.least_squares import fit
from bdray.report.scaling import bootstrap, choose, levels_of, try_law

SIZES = (3.0, 10.0, 30.0, 100.0, 300.0)
TRIALS = 5
"""Simulations of each kind: these show that it runs, 150 (a quarter of an hour) tell shares to a few points."""
SPREAD, NOISE = 0.3, 0.01
"""Standard deviations of ln midpoint over seeds, and of each rate."""


def logistic(size: float, shift: float) -> float:
    """A rate that is half at 28."""
    return 1 / (1 + math.exp(-(math.log(size / 28) - shift) / 0.5))


def choices(noise: float, trials: int, rng: np.random.Generator) -> Counter[str]:
    """Which law wins over five sizes and three seeds of a constant rate of 40%."""
    won: Counter[str] = Counter()
    laws = [law for law in LAWS if law.for_rates is not False]
    for _ in range(trials):
        rates = np.clip(0.4 + rng.normal(0, noise, (3, len(SIZES))), 0, 1)
        levels = levels_of(
            {seed: dict(zip(SIZES, map(float, row), strict=True)) for seed, row in enumerate(rates)}, [0, 1, 2]
        )
        best = choose([try_law(law, levels, is_rate=True) for law in laws])
        won[best.law.name if best else "none"] += 1
    return won


def coverage(num_seeds: int, trials: int, rng: np.random.Generator) -> float:
    """Share of bootstrap intervals at 30 that hold the mean over all seeds that there could be."""
    truth = float(np.mean([logistic(30, shift) for shift in np.random.default_rng(0).normal(0, SPREAD, 20_000)]))
    law = next(law for law in LAWS if law.name == "logistic between 0 and 1")
    held = 0
    for _ in range(trials):
        curves = {}
        for seed in range(num_seeds):
            shift = rng.normal(0, SPREAD)
            curves[seed] = {size: min(1.0, max(0.0, logistic(size, shift) + rng.normal(0, NOISE))) for size in SIZES}
        found = fit(law, levels_of(curves, range(num_seeds)), is_rate=True)
        boot = bootstrap(curves, found, 300, 0) if found else None
        if boot:
            (low,), (high,) = boot.band([30.0])
            held += bool(low <= truth <= high)
    return held / trials


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=TRIALS, help="simulations of each kind")
    trials = parser.parse_args().trials
    rng = np.random.default_rng(1)
    wrong, held = {}, {}
    for noise in (0.02, 0.08):
        won = choices(noise, trials, rng)
        wrong[f"noise {noise:.0%}"] = round(1 - won["constant"] / trials, 3)
        print(f"constant, noise {noise:.0%}: another law wins in {1 - won['constant'] / trials:.0%}  {dict(won)}")
    for num_seeds in (3, 5):
        held[f"{num_seeds} seeds"] = round(coverage(num_seeds, trials, rng), 3)
        print(f"{num_seeds} seeds: 95% intervals hold the truth in {held[f'{num_seeds} seeds']:.0%}")
    record.write("scaling_fits", {"trials": trials, "another_law_than_the_constant": wrong, "intervals_hold": held})


if __name__ == "__main__":
    main()
