"""The laws of a size and their least squares, on data that are known."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdray.report.laws import LAWS, Fit, Law, Levels
from bdray.report.least_squares import fit, project

SIZES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
Curve = Callable[[float], float]


def law(name: str) -> Law:
    return next(one for one in LAWS if one.name == name)


def levels(curve: Curve, sizes: tuple[float, ...] = SIZES) -> Levels:
    return Levels(sizes, tuple(curve(size) for size in sizes), (3.0,) * len(sizes))


def fitted(name: str, curve: Curve, *, is_rate: bool = True) -> Fit:
    found = fit(law(name), levels(curve), is_rate=is_rate)
    assert found is not None
    return found


def logistic(midpoint: float, width: float, start: float = 0.0, end: float = 1.0) -> Curve:
    return lambda size: start + (end - start) / (1 + math.exp(-(math.log(size) - math.log(midpoint)) / width))


CASES: list[tuple[str, Curve, bool, dict[str, float]]] = [
    ("constant", lambda x: 0.3, True, {"c": 0.3}),
    ("power law to 0", lambda x: 5 * x**-0.4, False, {"a": 5, "b": 0.4}),
    ("power law to 0 or 1", lambda x: 0.9 * x**-0.4, True, {"a": 0.9, "b": 0.4}),
    ("power law to 0 or 1", lambda x: 1 - 0.9 * x**-0.4, True, {"a": 0.9, "b": 0.4}),
    ("saturating power law", lambda x: 0.1 + 0.8 * x**-0.5, True, {"c": 0.1, "a": 0.8, "b": 0.5}),
    ("saturating power law", lambda x: 7 - 3 * x**-0.7, False, {"c": 7, "a": -3, "b": 0.7}),
    ("logistic between 0 and 1", logistic(28, 0.4), True, {"m": 28, "s": 0.4}),
    ("logistic between 0 and 1", logistic(28, -0.4), True, {"m": 28, "s": -0.4}),
    ("logistic", logistic(50, 0.6, 0.02, 0.95), True, {"start": 0.02, "end": 0.95, "m": 50, "s": 0.6}),
    ("logistic", logistic(50, 0.6, 0.9, 0.1), True, {"start": 0.9, "end": 0.1, "m": 50, "s": 0.6}),
]


@pytest.mark.parametrize(("name", "curve", "is_rate", "parameters"), CASES)
def test_exact_data_give_their_parameters(name: str, curve: Curve, is_rate: bool, parameters: dict[str, float]) -> None:
    found = fitted(name, curve, is_rate=is_rate)
    assert found.parameters == pytest.approx(parameters, rel=1e-4)
    assert found.predict(SIZES) == pytest.approx([curve(size) for size in SIZES], abs=1e-7)
    assert not found.is_at_limit


def test_every_law_has_as_many_parameters_as_it_says() -> None:
    # The rule of how many sizes a law needs counts on this.
    for one in LAWS:
        found = fit(one, levels(logistic(40, 1.0, 0.1, 0.8)), is_rate=one.for_rates is not False)
        assert found is not None
        assert len(found.parameters) == one.num_parameters


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 3), st.floats(0, 0.6), st.floats(0.1, 0.4))
def test_a_power_law_is_found_whatever_the_unit_of_size(exponent: float, limit: float, height: float) -> None:
    def curve(size: float) -> float:
        return limit + height * math.exp(-exponent * math.log(size / 3))

    small = fit(law("saturating power law"), levels(curve), is_rate=True)
    large = fit(
        law("saturating power law"), levels(lambda x: curve(x / 1e6), tuple(1e6 * x for x in SIZES)), is_rate=True
    )
    assert small is not None
    assert large is not None
    # Thousands or ones: b and the limit are the same.
    assert large.parameters["b"] == pytest.approx(small.parameters["b"], rel=1e-3)
    assert large.parameters["c"] == pytest.approx(small.parameters["c"], abs=1e-4)


def test_rates_stay_rates() -> None:
    # A straight rise would cross 100% right behind the data.
    found = fitted("saturating power law", lambda x: 0.2 + 0.115 * math.log(x))
    assert found.parameters["c"] <= 1
    assert max(found.predict([1e4, 1e6, 1e9])) <= 1
    assert min(fitted("power law to 0 or 1", lambda x: 1 - 0.9 * x**-0.4).predict([1e-6, 1.0])) >= 0


def test_what_the_sizes_do_not_tell_is_said() -> None:
    # A step behind the first size: any large b is as good.
    assert fitted("saturating power law", lambda x: 0.9 if x == 3 else 0.1).is_at_limit


def test_weights_are_seeds() -> None:
    # A mean of ten seeds counts ten times.
    found = fit(law("constant"), Levels((1.0, 2.0), (0.0, 1.1), (10.0, 1.0)), is_rate=False)
    assert found is not None
    assert found.parameters["c"] == pytest.approx(0.1)


def test_ends_on_the_edge_of_the_box_are_optimal() -> None:
    rng = np.random.default_rng(0)
    g, y, w = rng.random((20, 6)), rng.normal(0.5, 0.8, 6), rng.random(6) + 0.5
    ends, squares = project(g, y, w, (None, None), (0.0, 1.0))
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 201), np.linspace(0, 1, 201)), axis=-1).reshape(-1, 2)
    for row in range(len(g)):
        residuals = y - grid[:, :1] * (1 - g[row]) - grid[:, 1:] * g[row]
        # No pair within the box is better.
        assert squares[row] <= (w * residuals**2).sum(1).min() + 1e-12
        assert ends[row].min() >= 0
        assert ends[row].max() <= 1
