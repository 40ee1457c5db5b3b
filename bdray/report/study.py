"""``study.json``: what a study asked and how it was run, as the runner writes it and the report reads it."""

import json
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bdray import config
from bdray.exceptions import ConfigError
from bdray.registry import component
from bdray.report.published import Published
from bdray.report.statistics import Estimate

Level = float | str
"""A value of an axis: a number on a numeric axis, a name on any other."""

DASH = "–"
"""Stands where there is no value."""

RATES = ("clean_accuracy_", "attack_success_rate_", "chance_attack_success_rate_")
"""Metrics that are fractions in the data and percentages in print."""


@component
class Axis:
    """A knob that the study turns."""

    field: str
    """Dotted path in the experiment, and the column in the CSV files."""
    label: str
    values: list[bool | int | float | str] = Field(default_factory=list)
    """Planned values; empty where a search chooses them."""
    names: dict[str, str] = Field(default_factory=dict)
    """Optional readable names by printed value, for example ``{"0": "FT"}``."""

    @property
    def is_numeric(self) -> bool:
        """Whether the values have an order and distances."""
        return bool(self.values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)

    @property
    def levels(self) -> tuple[Level, ...]:
        return tuple(self.level(value) for value in self.values)

    def level(self, value: object) -> Level:
        """A value as it is compared: CSV knows no types but ours."""
        return float(str(value)) if self.is_numeric else str(value)

    def name(self, level: Level) -> str | None:
        return self.names.get(show_level(level))

    def show(self, level: Level) -> str:
        """``0 (FT)``, or just the value if it has no name."""
        name = self.name(level)
        return f"{show_level(level)} ({name})" if name else show_level(level)


@component
class Metric:
    """A column that the study is about; the first metrics get a panel each in the figure."""

    name: str
    label: str
    goal: Literal["min", "max"]

    @property
    def arrow(self) -> str:
        return "↓" if self.goal == "min" else "↑"

    @property
    def is_rate(self) -> bool:
        """Whether it is a fraction in the data and a percentage in print."""
        return self.name.startswith(RATES)

    @property
    def unit(self) -> str:
        return " (%)" if self.is_rate else ""

    @property
    def scale(self) -> float:
        """From data to print."""
        return 100.0 if self.is_rate else 1.0

    def show(self, value: float) -> str:
        """As printed: ``22.9`` for the rate 0.229; a missing value is a dash, never a zero."""
        if math.isnan(value):
            return DASH
        return f"{value * self.scale:.{1 if self.is_rate else 3}f}"

    def show_estimate(self, estimate: Estimate) -> str:
        """``22.9 ± 4.1``, or just the value if there is no interval."""
        if math.isnan(estimate.half_width):
            return self.show(estimate.mean)
        return f"{self.show(estimate.mean)} ± {self.show(estimate.half_width)}"


@component
class Failure:
    """A trial that gave no result."""

    trial: str
    reason: str


@component
class Study:
    """``study.json``: what was asked, and how it was run."""

    name: str
    id: str
    title: str
    question: str = ""
    source: str = ""
    base: str = ""
    axes: list[Axis]
    seeds: list[int]
    metrics: list[Metric] = Field(min_length=1)
    compare: list[bool | int | float | str] = Field(default_factory=list, max_length=2)
    """The two values of a single axis whose difference the report spells out; by default the first and the last."""
    published: list[Published] = Field(default_factory=list)
    deviations: list[str] = Field(default_factory=list)
    settings: dict[str, Any] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)
    planned_trials: int = Field(ge=0)
    """Trials of all axis values and seeds; victims are not trials."""
    failures: list[Failure] = Field(default_factory=list)
    mlflow: dict[str, str] = Field(default_factory=dict)
    """``uri`` (without secrets) and ``command``, which opens the UI."""


def read_study(path: Path) -> Study:
    """Read and validate ``study.json``.

    Raises:
        ConfigError: If it is missing or does not describe a study.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path.parent}: holds no study, for there is no study.json in it.") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON. {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must hold a JSON object, but holds a {type(tree).__name__}.")
    study = config.build(Study, tree, str(path))
    for value in study.compare:
        if len(study.axes) != 1 or study.axes[0].level(value) not in study.axes[0].levels:
            raise ConfigError(f"{path}: compare: {value!r} is not a value of a single axis of the study.")
    return study


def show_level(level: Level) -> str:
    """``0.5``, ``8``, ``3000000``, ``BadNet``."""
    if isinstance(level, str):
        return level
    return str(int(level)) if level.is_integer() and abs(level) < 1e12 else f"{level:g}"
