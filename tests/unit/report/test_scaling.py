"""Choosing a law of scaling, its intervals, and what cannot be said."""

import math
import random

import numpy as np
import pytest

from bdray.report.laws import LAWS
from bdray.report.least_squares import fit
from bdray.report.scaling import Candidate, Curves, bootstrap, choose, how_far, levels_of, near_best, scale

SIZES = (3.0, 10.0, 30.0, 100.0, 300.0)


def logistic(size: float, midpoint: float = 28.0, width: float = 0.4) -> float:
    return 1 / (1 + math.exp(-(math.log(size) - math.log(midpoint)) / width))


def noisy(seeds: int, noise: float) -> dict[int, dict[float, float]]:
    rng = np.random.default_rng(5)
    draw = {seed: {size: logistic(size) + rng.normal(0, noise) for size in SIZES} for seed in range(seeds)}
    return {seed: {size: min(1.0, max(0.0, y)) for size, y in curve.items()} for seed, curve in draw.items()}


def chosen(curves: Curves, *, is_rate: bool = True) -> str:
    found = scale(curves, is_rate=is_rate, resamples=20).chosen
    assert found is not None
    return found.law.name


def test_the_law_behind_the_data_is_chosen() -> None:
    assert chosen({0: {size: logistic(size) for size in SIZES}}) == "logistic between 0 and 1"
    assert chosen({0: {size: 0.1 + 0.8 * (size / 3) ** -0.5 for size in SIZES}}) == "saturating power law"
    assert chosen({0: {size: 0.9 * size**-0.4 for size in SIZES}}) == "power law to 0 or 1"
    assert chosen({0: {size: 5.0 * size**-0.4 for size in SIZES}}, is_rate=False) == "power law to 0"


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_a_constant_wins_where_nothing_moves(level: float) -> None:
    found = scale({seed: dict.fromkeys(SIZES, level) for seed in range(3)}, is_rate=True)
    assert found.chosen is not None
    # Other laws fit as well, but say more than is known.
    assert found.chosen.law.name == "constant"
    assert found.chosen.error == 0
    assert found.residuals == pytest.approx((0,) * 5)
    assert found.bootstrap is not None
    assert found.bootstrap.interval("c") == pytest.approx((level, level))


def test_the_simplest_within_one_standard_error_wins() -> None:
    constant, _, _, bounded, power, *_ = LAWS
    # Mean errors 0.10, 0.12 and 0.30; one standard error of the best is 0.05.
    best = Candidate(power, None, (0.05, 0.15))
    near = Candidate(bounded, None, (0.12, 0.12))
    far = Candidate(constant, None, (0.3, 0.3))
    out = Candidate(constant, None, (), "did not converge")
    assert choose([far, near, best, out]) is near
    assert choose([far, Candidate(bounded, None, (0.2, 0.2)), best]) is best
    assert choose([out]) is None
    # What the data do not tell apart is told.
    assert near_best([far, near, best, out]) == [near, best]


def test_laws_are_compared_size_by_size() -> None:
    constant, *_, power, _ = LAWS
    # The best misses all sizes alike, which is no reason to trust it: the constant is better at one and worse at one.
    best, rival = Candidate(power, None, (0.1, 0.1)), Candidate(constant, None, (0.0, 0.25))
    assert (best.standard_error, choose([best, rival])) == (0, rival)
    # One size is hard for both, which is no reason to doubt that one law is better at each.
    best, rival = Candidate(power, None, (0.0, 0.2)), Candidate(constant, None, (0.05, 0.25))
    assert rival.error < best.error + best.standard_error
    assert choose([best, rival]) is best


def test_noise_is_no_law() -> None:
    # Attacks of five widths, measured (scaling/model_width, means of three seeds).
    widths = (339485, 489437, 910031, 1491545, 3137333)
    found = scale({0: dict(zip(widths, (0.151, 0.075, 0.255, 0.167, 0.36), strict=True))}, is_rate=True)
    assert found.chosen is not None
    assert found.chosen.law.name == "constant"
    # Though another law misses less on average.
    assert found.chosen is not min(found.candidates, key=lambda one: one.error)


def test_errors_are_of_sizes_that_were_left_out() -> None:
    curve = {size: logistic(size) for size in SIZES}
    curve[300.0] = 0.2
    found = scale({0: curve}, is_rate=True)
    constant = next(one for one in found.candidates if one.law.name == "constant")
    # The constant's guess for each size is the mean of all others.
    others = [sum(y for x, y in curve.items() if x != size) / 4 for size in SIZES]
    assert constant.errors == pytest.approx([abs(curve[size] - y) for size, y in zip(SIZES, others, strict=True)])


def test_few_sizes_allow_few_laws() -> None:
    found = scale({0: dict(zip((75, 300, 1500, 3000), (0.02, 0.04, 0.08, 0.1), strict=True))}, is_rate=True)
    problems = {one.law.name: one.problem for one in found.candidates}
    # Of four sizes three are left to fit to, through any of which a curve of three parameters goes.
    assert problems["saturating power law"].startswith("needs 5 sizes")
    assert problems["logistic"].startswith("needs 6 sizes")
    assert [name for name, problem in problems.items() if not problem] == [
        "constant",
        "power law to 0 or 1",
        "logistic between 0 and 1",
    ]


def test_three_sizes_as_the_papers_print_them_have_laws_of_two_parameters_at_most() -> None:
    found = scale({0: {75.0: 0.023, 300.0: 0.04, 1500.0: 0.08}}, is_rate=True)
    assert {one.law.num_parameters for one in found.candidates if one.errors} == {1, 2}
    assert found.chosen is not None


@pytest.mark.parametrize("curves", [{}, {0: {}}, {0: {3.0: 0.1, 10.0: 0.5}}, {0: {3.0: math.nan}}])
def test_two_sizes_have_no_law(curves: Curves) -> None:
    found = scale(curves, is_rate=True)
    assert found.fit is None
    assert found.bootstrap is None
    assert found.residuals == ()
    assert "needs 3" in found.problem


def test_what_is_missing_is_left_out() -> None:
    whole = {seed: {size: logistic(size) for size in SIZES} for seed in (0, 1)}
    holes = {0: {**whole[0], 30.0: math.nan, 0.0: 0.5, 1000.0: math.nan}, 1: whole[1]}
    found = scale(holes, is_rate=True, resamples=50)
    assert found.levels.sizes == SIZES
    assert found.levels.weights == (2, 2, 1, 2, 2)
    # Zero poisons have no logarithm.
    assert found.left_out == (0.0,)
    assert found.fit is not None
    assert found.fit.parameters == pytest.approx({"m": 28, "s": 0.4}, rel=1e-3)


def test_a_single_seed_has_no_interval() -> None:
    assert scale(noisy(1, 0.02), is_rate=True).bootstrap is None
    # Nor has a second seed that has nothing.
    assert scale({**noisy(1, 0.02), 1: {30.0: math.nan}}, is_rate=True).bootstrap is None


def test_bootstrap_resamples_whole_seeds() -> None:
    curves = {
        seed: {size: logistic(size, midpoint) for size in SIZES} for seed, midpoint in enumerate((20.0, 30.0, 45.0))
    }
    law = next(one for one in LAWS if one.name == "logistic between 0 and 1")
    whole = fit(law, levels_of(curves, [0, 1, 2]), is_rate=True)
    assert whole is not None
    found = bootstrap(curves, whole, 400, 0)
    assert found is not None
    assert (found.num_seeds, found.num_distinct, len(found.fits)) == (3, 10, 400)
    # A resample of one seed thrice is that seed, and it comes in one of 27 draws for each.
    midpoints = sorted({round(one.parameters["m"], 3) for one in found.fits})
    assert len(midpoints) == 10
    assert (midpoints[0], midpoints[-1]) == (20.0, 45.0)
    low, high = found.band([30.0])
    assert low[0] < whole.predict([30.0])[0] < high[0]
    assert 20 <= found.interval("m")[0] < whole.parameters["m"] < found.interval("m")[1] <= 45


def test_the_same_data_in_any_order_give_the_same_numbers() -> None:
    curves = noisy(3, 0.05)
    rng = random.Random(1)
    mixed: dict[int, dict[float, float]] = {}
    for seed in rng.sample(sorted(curves), 3):
        mixed[seed] = dict(rng.sample(sorted(curves[seed].items()), len(SIZES)))
    first, second = scale(curves, is_rate=True, resamples=50), scale(mixed, is_rate=True, resamples=50)
    assert first == second


def test_how_far_beyond_the_data() -> None:
    levels = levels_of({0: dict.fromkeys(SIZES, 0.5)}, [0])
    assert how_far(1200, levels) == "×4 beyond the largest measured"
    assert how_far(1.5, levels) == "×2 below the smallest measured"
    assert how_far(30, levels) == "within the measured sizes"
