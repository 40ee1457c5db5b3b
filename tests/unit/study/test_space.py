"""Axes."""

from typing import Any

import pytest

from bdray import config
from bdray.exceptions import ConfigError
from bdray.study.space import Axis, place, probes, show, turning_order, without_idle

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "give values, variants, or both low and high"),
    ({"low": 1}, "give values, variants, or both low and high"),
    ({"values": [1], "low": 0}, "give one of values, variants, and low with high"),
    ({"values": []}, "at least 1"),
    ({"low": 2, "high": 1}, "low must be below high"),
    ({"low": 1, "high": 1}, "low must be below high"),
    ({"low": 0, "high": 1, "log": True}, "above 0 on a logarithmic scale"),
    ({"values": [1, 2, 1]}, "every value must be given once"),
    ({"values": [0, 0.0]}, "every value must be given once"),
    ({"low": float("nan"), "high": 1}, "finite"),
    ({"low": 0, "high": float("inf")}, "finite"),
]


@pytest.mark.parametrize(("fields", "rule"), REFUSED)
def test_an_axis_is_values_or_a_range(fields: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.build(Axis, fields, "test")
    assert rule in str(error.value)


def test_values_keep_order_and_type() -> None:
    axis = config.build(Axis, {"values": [8, 0.5, "paper", True]}, "test")
    # What the YAML says is what is tried, in that order.
    assert axis.values == (8, 0.5, "paper", True)
    assert [type(value) for value in axis.values or ()] == [int, float, str, bool]


def test_an_axis_has_a_name() -> None:
    # Its label, or else the end of its path.
    assert Axis(values=(1,), label="λ₂").name("defense.in_modal_weight") == "λ₂"
    assert Axis(values=(1,)).name("defense.in_modal_weight") == "in_modal_weight"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.0, "1"), (0.5, "0.5"), (1e-3, "0.001"), (1e-5, "1e-05"), (3, "3"), (True, "True"), ("paper", "paper")],
)
def test_values_are_shown_as_people_write_them(value: Any, shown: str) -> None:
    assert show(value) == shown


RANGES: list[tuple[dict[str, Any], str]] = [
    ({"values": [1, 2], "log": True}, "log, integer and step belong to a range"),
    ({"values": [1, 2], "step": 1}, "log, integer and step belong to a range"),
    ({"low": 1, "high": 9, "log": True, "step": 2}, "none on a logarithmic scale"),
    ({"low": 0.5, "high": 3, "integer": True}, "must be whole"),
    ({"low": 0, "high": 3, "integer": True, "step": 1.5}, "must be whole"),
    ({"low": 0, "high": 1, "step": 0.3}, "high must be a whole number of steps above low"),
    ({"low": 0, "high": 1, "step": 0}, "above 0"),
]


@pytest.mark.parametrize(("fields", "rule"), RANGES)
def test_ranges_have_rules(fields: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.build(Axis, fields, "test")
    assert rule in str(error.value)


def test_an_axis_knows_its_values() -> None:
    assert [Axis(low=0, high=1, step=0.1).allows(value) for value in (0, 0.3, 1, 0.35, 1.1)] == [True] * 3 + [False] * 2
    assert [Axis(low=1, high=9, integer=True).allows(value) for value in (1, 9.0, 2.5, True, "2")] == [
        *(True, True, False, False, False)
    ]
    assert [Axis(values=(1, "a")).allows(value) for value in (1, "a", 2, "b")] == [True, True, False, False]


# Conditions.

KIND = Axis(values=("plain", "deep", "wide"))
CHAIN = {
    "rate": Axis(low=1e-3, high=1, log=True, when={"layers": 2}),
    "layers": Axis(values=(1, 2), when={"kind": ("deep", "wide")}),
    "kind": KIND,
}


def test_axes_are_turned_after_those_they_depend_on() -> None:
    assert turning_order(CHAIN) == ["kind", "layers", "rate"]
    # Where nothing depends on anything, as they are written.
    assert turning_order({"b": KIND, "a": KIND}) == ["b", "a"]


@pytest.mark.parametrize(
    ("values", "left"),
    [
        ({"rate": 0.1, "layers": 2, "kind": "deep"}, ["rate", "layers", "kind"]),
        ({"rate": 0.1, "layers": 1, "kind": "wide"}, ["layers", "kind"]),
        # Its condition holds, but the axis that it names is idle itself.
        ({"rate": 0.1, "layers": 2, "kind": "plain"}, ["kind"]),
    ],
)
def test_idle_axes_drop_out(values: dict[str, Any], left: list[str]) -> None:
    assert list(without_idle(CHAIN, values)) == left


def test_probes_reach_every_end_of_every_axis() -> None:
    found = list(probes(CHAIN))
    for path, values in {"kind": KIND.choices, "layers": (1, 2), "rate": (1e-3, 1)}.items():
        assert {point[path] for point in found if path in point} == set(values)
    # None of them turns what cannot be turned there.
    assert all(without_idle(CHAIN, {**dict.fromkeys(CHAIN, None), **point}) == point for point in found)


@pytest.mark.parametrize(
    ("axes", "rule"),
    [
        ({"a": Axis(values=(1,), when={"b": 1})}, r"axes.a.when.b: there is no such axis"),
        ({"a": Axis(values=(1,), when={"b": 1}), "b": Axis(low=0, high=1)}, r"axes.a.when.b: is a range"),
        (
            {"a": Axis(values=(1,), when={"k": "flat"}), "k": KIND},
            r"'flat' is none of that axis's values \(plain, deep",
        ),
        ({"a": Axis(values=(1,), when={"a": 1})}, r"conditions of a lead back to themselves"),
        (
            {"a": Axis(values=(1,), when={"b": 1}), "b": Axis(values=(1,), when={"a": 1}), "k": KIND},
            r"conditions of a, b lead back",
        ),
    ],
)
def test_conditions_must_make_sense(axes: dict[str, Axis], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        turning_order(axes)


def test_points_have_places() -> None:
    axes = {"n": Axis(low=0, high=9), "kind": KIND}
    points: list[dict[str, Any]] = [
        {"n": 5.0, "kind": "plain"},
        {"kind": "deep"},
        {"n": "", "kind": "plain"},
        {"n": 2.0, "kind": "wide"},
    ]
    # In the order of values; first, where an axis is not turned, whether a point lacks it or a row has it empty.
    assert sorted(points, key=lambda point: place(axes, point)) == [points[2], points[1], points[3], points[0]]
