"""``study.json``: what a study asked and how it was run, as the runner writes it and the report reads it."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from bdray import config
from bdray.exceptions import ConfigError
from bdray.registry import component
from bdray.report.picks import VICTIM, Pick
from bdray.report.scaling import Scaling
from bdray.report.statistics import Estimate, Interval

Level = float | str
"""A value of an axis: a number on a numeric axis, a name on any other."""

Point = tuple[Level | None, ...]
"""One value per axis; None where the axis does not apply, as for victims, which have no defense."""

DASH = "–"
"""Stands where there is no value."""

DETECTION = "detection_"
"""Starts the names of what a defense measured of itself: how well it found the poisons among its data."""

RATES = (
    *("clean_accuracy_", "attack_success_rate_", "chance_attack_success_rate_"),
    *("base_clean_accuracy_", "base_attack_success_rate_"),
    *(f"{DETECTION}{name}" for name in ("precision", "recall", "split_recall")),
    *(f"poison_{DETECTION}{name}_" for name in ("precision", "recall")),
    *("linear_probe_", "logistic_probe_", "probe_", "retrieval_", "triggered_to_"),
)
"""Metrics that are fractions in the data and percentages in print, by how their names start."""


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
    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """What the values stand for, where they are names for parts of the experiment."""
    positions: dict[str, float] = Field(default_factory=dict)
    """Sizes that names stand for."""
    low: float | None = None
    """Lower end of the range that a search chooses from; None where it chooses among values, and for grids."""
    high: float | None = None
    """Upper end of the range."""
    log: bool = False
    """Whether the range is searched on a logarithmic scale."""
    integer: bool = False
    """Whether only whole numbers of the range are tried."""

    @property
    def is_range(self) -> bool:
        """Whether a search chooses from a range rather than among values."""
        return self.low is not None and self.high is not None

    @cached_property
    def is_numeric(self) -> bool:
        """Whether the values have an order and distances."""
        if self.is_range:
            return True
        return bool(self.values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        return tuple(self.level(value) for value in self.values)

    def level(self, value: object) -> Level:
        """A value as it is compared: CSV knows no types but ours."""
        return float(str(value)) if self.is_numeric else str(value)

    def size(self, level: Level) -> float | None:
        """The number that a value is or stands for; None for a name that stands for none."""
        return level if isinstance(level, float) else self.positions.get(level)

    def name(self, level: Level) -> str | None:
        return self.names.get(show_level(level))

    def show(self, level: Level) -> str:
        """``0 (FT)``, or just the value if it has no name; what a search chose from a range has three digits."""
        name = self.name(level)
        is_chosen = self.is_range and not self.integer and isinstance(level, float)
        text = f"{level:.3g}" if is_chosen else show_level(level)
        return f"{text} ({name})" if name else text


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
    def is_of_trigger(self) -> bool:
        """Whether it judges the trigger alone: no model is asked, so all seeds give the same number."""
        return self.name.startswith("trigger_")

    @property
    def unit(self) -> str:
        """``%``, ``dB``, or nothing."""
        return "%" if self.is_rate else "dB" if self.name == "trigger_psnr" else ""

    @property
    def heading(self) -> str:
        """``PSNR (dB)``."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def digits(self) -> int:
        """Printed decimals; one for the mean of counts."""
        return 1 if self.unit or self.name.endswith("_positives") else 3

    @property
    def scale(self) -> float:
        """From data to print."""
        return 100.0 if self.is_rate else 1.0

    def show(self, value: float) -> str:
        """As printed: ``22.9`` for the rate 0.229; a missing value is a dash, never a zero."""
        if math.isnan(value):
            return DASH
        return f"{value * self.scale:.{self.digits}f}"

    def say_value(self, value: float) -> str:
        """In a sentence: ``22.9%``, ``31.2 dB``, ``0.934``."""
        return DASH if math.isnan(value) else self._with_unit(self.show(value))

    def say(self, estimate: Estimate) -> str:
        """In a sentence: ``22.9 ± 4.1%``."""
        return self._with_unit(self.show_estimate(estimate)) if estimate.n else DASH

    def _with_unit(self, text: str) -> str:
        return f"{text} {self.unit}" if self.unit.isalpha() else f"{text}{self.unit}"

    def show_step(self, value: float) -> str:
        """A difference as printed, with its sign: ``−12.3``."""
        text = f"{value * self.scale:+.{self.digits}f}"
        return text[1:] if float(text) == 0 else text.replace("-", "−")

    @property
    def step_unit(self) -> str:
        """Of a difference: percentages differ by points, not by percent."""
        return " points" if self.is_rate else f" {self.unit}" if self.unit else ""

    def show_estimate(self, estimate: Estimate) -> str:
        """``22.9 ± 4.1``, or just the value if there is no interval, or nothing that it could be about.

        An interval that does not lie evenly around the mean is ``22.9 [20.1, 27.5]``.
        """
        if math.isnan(estimate.half_width) or (self.is_of_trigger and estimate.half_width < 1e-9):
            return self.show(estimate.mean)
        if estimate.bounds:
            return f"{self.show(estimate.mean)} {self.show_bounds(estimate.bounds)}"
        return f"{self.show(estimate.mean)} ± {self.show(estimate.half_width)}"

    def show_bounds(self, bounds: tuple[float, float]) -> str:
        """``[20.1, 27.5]``."""
        return f"[{self.show(bounds[0])}, {self.show(bounds[1])}]"


@component
class Constraint:
    """What a point must keep to be of use: a bound on its mean over seeds, as the data has it (rates as fractions)."""

    metric: str
    """Name of a column of the results: one of the study's metrics, or anything else that was measured."""
    at_least: float | None = None
    """Lower bound."""
    at_most: float | None = None
    """Upper bound."""
    max_loss: float | None = None
    """How much worse than the point's own victim it may be: below it where the metric should be high, above it where it
    should be low. The metric must then be one of the study's, which know their goal."""

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if (self.at_least, self.at_most, self.max_loss) == (None, None, None):
            raise ValueError("give at least one of at_least, at_most and max_loss")
        return self


@component
class Search:
    """How a search chose the points of a study; the study's metrics are its objectives."""

    type: str
    """For people, with the sampler: ``optuna, tpe``."""
    num_points: int | None = Field(default=None, ge=1)
    """Points to try, pruned ones included; None where a budget of time ends the search."""
    constraints: list[Constraint] = Field(default_factory=list)
    stopping: str = ""
    """In words, what stops hopeless trials early; empty if nothing does."""


@component
class Failure:
    """A trial that gave no result."""

    trial: str
    reason: str


@component
class Example:
    """A picture of what one trigger does."""

    label: str
    """The axis value that chooses the trigger, or the trigger's type."""
    file: str = Field(pattern=r"^examples/\w[\w.-]*\.png$")
    """Place in the study's folder."""


@component
class Similarities:
    """The similarities of image and caption that a defense judged its training pairs by, at one point."""

    point: dict[str, bool | int | float | str]
    """A value of every axis, by its field."""
    seed: int
    file: str = Field(pattern=r"^similarities/\w[\w.-]*\.csv$")
    """Place in the study's folder."""


@component
class Embedding:
    """A map of clean, triggered and target images' features under one model."""

    label: str
    """The model: the values of the axes, or the kind of victim."""
    seed: int
    file: str = Field(pattern=r"^embeddings/\w[\w.-]*\.csv$")
    """Place in the study's folder."""


Address = Annotated[str, Field(pattern=r"^(https?://.*)?$")]
"""Of a page in MLflow; empty if there is none."""


@component
class Tracking:
    """Where MLflow has the study."""

    uri: str = ""
    """Server or database, without secrets."""
    command: str = ""
    """Starts the user interface of a database; of a server, its address."""
    table: Address = ""
    """All runs, with their knobs and results."""
    charts: Address = ""
    """The same in charts."""
    compare: Address = ""
    """The trials side by side."""
    runs: dict[str, Address] = Field(default_factory=dict)
    """The run of each model, by its key, where a server shows it to everybody."""

    @property
    def is_server(self) -> bool:
        """Whether the addresses are good without the command."""
        return self.command.startswith("http")


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
    split: Literal["validation", "test"] = "test"
    """What finished models were judged on."""
    search: Search | None = None
    """How the points were chosen; None: a grid, with every combination of the axes' values."""
    metrics: list[Metric] = Field(min_length=1)
    compare: list[bool | int | float | str] = Field(default_factory=list, max_length=2)
    """The two values of a single axis whose difference the report spells out; by default the first and the last."""
    reference: bool | int | float | str | None = None
    """Value of the last axis that its others are compared with, or ``victim``; None: chosen by the report."""
    interval: Interval = "t"
    """How intervals over seeds are made; a bootstrap needs four seeds, and is too short for fewer than about twenty."""
    published: list[Pick] = Field(default_factory=list)
    goals: dict[str, float] = Field(default_factory=dict)
    """What metrics should reach, rates as fractions: at least that much, or at most where less is better."""
    scaling: Scaling | None = None
    """How laws are fitted to the metrics over the sizes of the only axis; None: not at all."""
    deviations: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    examples: list[Example] = Field(default_factory=list)
    similarities: list[Similarities] = Field(default_factory=list)
    embeddings: list[Embedding] = Field(default_factory=list)
    settings: dict[str, Any] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)
    planned_trials: int = Field(ge=0)
    """Trials of all axis values and seeds; victims are not trials."""
    failures: list[Failure] = Field(default_factory=list)
    mlflow: Tracking = Tracking()
    """Where its runs are."""


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
    check_reference(study.reference, study.axes, str(path))
    check_goals(study.goals, study.metrics, str(path))
    check_constraints(study.search.constraints if study.search else (), study.metrics, str(path))
    return study


def check_reference(reference: bool | int | float | str | None, axes: Sequence[Axis], source: str) -> None:
    """Refuse a reference that no point of the study has.

    Raises:
        ConfigError: If it is neither ``victim`` nor a value of the last axis.
    """
    values = axes[-1].values if axes else []
    if reference is not None and reference != VICTIM and reference not in values:
        hint = config.did_you_mean(str(reference), map(str, [*values, VICTIM]))
        raise ConfigError(f"{source}: reference: {reference!r} is no value of the study's last axis. {hint}")


def check_constraints(constraints: Sequence[Constraint], metrics: Sequence[Metric], source: str) -> None:
    """Refuse constraints that compare with a victim without saying which way is worse.

    Raises:
        ConfigError: If ``max_loss`` is set for something that is none of the study's metrics.
    """
    known = [metric.name for metric in metrics]
    for index, constraint in enumerate(constraints):
        if constraint.max_loss is not None and constraint.metric not in known:
            hint = config.did_you_mean(constraint.metric, known)
            raise ConfigError(
                f"{source}: search.constraints.{index}.max_loss: {constraint.metric} is none of the study's metrics, "
                f"so it is not known whether a loss is a fall or a rise. Add it to metrics, or use at_least. {hint}"
            )


def check_goals(goals: Mapping[str, float], metrics: Sequence[Metric], source: str) -> None:
    """Refuse goals that no number of the study can be held against.

    Raises:
        ConfigError: If a goal is set for something that the study does not look at, or a rate's is no fraction.
    """
    known = {metric.name: metric for metric in metrics}
    for name, goal in goals.items():
        if name not in known:
            hint = config.did_you_mean(name, known)
            raise ConfigError(f"{source}: goals.{name}: is none of the study's metrics. {hint}")
        if known[name].is_rate and not 0 <= goal <= 1:
            raise ConfigError(f"{source}: goals.{name}: {goal:g} is not a fraction from 0 to 1.")


def show_level(level: Level) -> str:
    """``0.5``, ``8``, ``3000000``, ``BadNet``."""
    if isinstance(level, str):
        return level
    return str(int(level)) if level.is_integer() and abs(level) < 1e12 else f"{level:g}"
