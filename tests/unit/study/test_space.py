"""Axes."""

from typing import Any

import pytest

from bdray import config
from bdray.exceptions import ConfigError
from bdray.study.space import Axis, show

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "give values, variants, or both low and high"),
    ({"low": 1}, "give values, variants, or both low and high"),
    ({"values": [1], "low": 0}, "give one of values, variants, and low with high"),
    ({"values": []}, "at least 1 item"),
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
