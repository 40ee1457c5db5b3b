"""The knobs that a study turns."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from bdray import config
from bdray.exceptions import ConfigError
from bdray.registry import component
from bdray.report import study as study_file

AFTER_VICTIM = {"defense", "evaluation"}
"""Parts of an experiment that a victim does not depend on."""
Point = Mapping[str, Any]
"""A value for each knob that is turned there, by its dotted path in the experiment."""
Scalar = bool | int | float | str


@component
class Axis:
    """One knob: the values to try, a range to search in, or named variants of the experiment."""

    label: str | None = None
    """How tables and figures name the knob; by default the last part of its path."""
    values: tuple[Scalar, ...] | None = Field(default=None, min_length=1)
    """The values to try, in this order."""
    variants: dict[str, dict[str, Any]] | None = Field(default=None, min_length=1)
    """Parts of the experiment by name, each laid over the base; the axis's own name is then free. For knobs that turn
    several fields at once, such as attacks with all their settings."""
    low: float | None = None
    """Lower end of a range."""
    high: float | None = None
    """Upper end of a range."""
    names: dict[str, str] = Field(default_factory=dict)
    """Readable names of some values, as printed: ``{"0": "FT"}``."""
    positions: dict[str, float] = Field(default_factory=dict)
    """Sizes that the values stand for where they are names, for a scaling study: one for each name."""
    log: bool = False
    """Search the range on a logarithmic scale."""
    integer: bool = False
    """Only whole numbers."""
    step: float | None = Field(default=None, gt=0)
    """Only low, low + step, and so on."""
    when: dict[str, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict)
    """At which values of other axes, by their paths, this one is turned: one value or several, of which one must hold;
    all axes that are named must agree. Elsewhere a point lacks this axis, and the base's value holds."""

    @model_validator(mode="after")
    def _is_values_or_range(self) -> Self:
        if self.values is not None or self.variants is not None:
            if (self.low, self.high) != (None, None) or (self.values is not None and self.variants is not None):
                raise ValueError("give one of values, variants, and low with high")
            if self.log or self.integer or self.step is not None:
                raise ValueError("log, integer and step belong to a range, low with high")
            if len(set(self.choices)) != len(self.choices):
                raise ValueError("every value must be given once")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give values, variants, or both low and high")
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("low must be below high, and above 0 on a logarithmic scale")
        if self.log and self.step is not None:
            raise ValueError("steps are equal, so that there are none on a logarithmic scale")
        if self.integer and any(end % 1 for end in (self.low, self.high, self.step or 1)):
            raise ValueError("low, high and step must be whole where only whole numbers are tried")
        if self.step is not None and not _is_whole((self.high - self.low) / self.step):
            raise ValueError("high must be a whole number of steps above low")
        return self

    def allows(self, value: Any) -> bool:
        """Whether a search may choose this value."""
        if self.choices:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float) or (self.integer and value % 1):
            return False
        assert self.low is not None and self.high is not None
        on_step = self.step is None or _is_whole((value - self.low) / self.step)
        return self.low <= value <= self.high and on_step

    @model_validator(mode="after")
    def _has_all_positions(self) -> Self:
        if self.positions and set(self.positions) != set(self.choices):
            raise ValueError("positions must name every value or variant, and nothing else; numbers need none")
        return self

    @property
    def conditions(self) -> dict[str, tuple[Scalar, ...]]:
        """``when``, all of it as lists."""
        return {path: found if isinstance(found, tuple) else (found,) for path, found in self.when.items()}

    @property
    def choices(self) -> tuple[Scalar, ...]:
        """The values to try, or the names of the variants; none for a range."""
        return self.values or tuple(self.variants or ())

    def turns(self, path: str) -> set[str]:
        """Parts of the experiment that the knob at ``path`` changes: ``{"defense"}``."""
        if self.variants is None:
            return {path.split(".")[0]}
        return {part for variant in self.variants.values() for part in variant}

    def described(self, path: str) -> study_file.Axis:
        """The knob at ``path`` as the report knows it."""
        return study_file.Axis(
            field=path,
            label=self.name(path),
            values=list(self.choices),
            names=dict(self.names),
            variants=dict(self.variants or {}),
            positions=dict(self.positions),
            low=self.low,
            high=self.high,
            log=self.log,
            integer=self.integer,
        )

    def place(self, value: Any) -> float:
        """Where a value stands among the others."""
        return self.choices.index(value) if self.choices else float(value)

    def name(self, path: str) -> str:
        """The label, or the last part of the knob's path."""
        return self.label or path.rpartition(".")[2]


def turning_order(axes: Mapping[str, Axis]) -> list[str]:
    """Paths of the axes, each after those that it depends on, else as they are written.

    Raises:
        ConfigError: If a condition names something that cannot be one, or leads back to itself.
    """
    for path, axis in axes.items():
        for other, values in axis.conditions.items():
            if other not in axes:
                raise ConfigError(
                    f"axes.{path}.when.{other}: there is no such axis. {config.did_you_mean(other, axes)}"
                )
            if not axes[other].choices:
                raise ConfigError(f"axes.{path}.when.{other}: is a range, and a condition needs values to name.")
            for value in values:
                if value not in axes[other].choices:
                    known = ", ".join(map(show, axes[other].choices))
                    raise ConfigError(f"axes.{path}.when.{other}: {value!r} is none of that axis's values ({known}).")
    ordered: list[str] = []
    while len(ordered) < len(axes):
        ready = [path for path in axes if path not in ordered and axes[path].when.keys() <= set(ordered)]
        if not ready:
            stuck = ", ".join(path for path in axes if path not in ordered)
            raise ConfigError(f"axes: the conditions of {stuck} lead back to themselves. Break the circle.")
        ordered.append(ready[0])
    return ordered


def is_turned(axis: Axis, point: Point) -> bool:
    """Whether an axis is turned, at a point that has its values on the axes that it depends on."""
    return all(path in point and point[path] in values for path, values in axis.conditions.items())


def without_idle(axes: Mapping[str, Axis], values: Point) -> Point:
    """The point that a value for every axis makes: those that are not turned there drop out."""
    kept: dict[str, Any] = {}
    for path in turning_order(axes):
        if is_turned(axes[path], kept):
            kept[path] = values[path]
    return {path: kept[path] for path in axes if path in kept}


def combinations(axes: Mapping[str, Axis]) -> Iterator[Point]:
    """Every combination of the axes' values, once; the last axis turns fastest."""
    seen = set()
    for values in itertools.product(*(axis.choices for axis in axes.values())):
        point = without_idle(axes, dict(zip(axes, values, strict=True)))
        if (identity := tuple(point.items())) not in seen:
            seen.add(identity)
            yield point


def probes(axes: Mapping[str, Axis]) -> Iterator[Point]:
    """A few points that, between them, hold every value and both ends of every range."""
    columns = {path: axis.choices or (axis.low, axis.high) for path, axis in axes.items()}
    for index in range(max(map(len, columns.values()), default=1)):
        yield without_idle(axes, {path: column[min(index, len(column) - 1)] for path, column in columns.items()})
    first = {path: column[0] for path, column in columns.items()}
    for path in (path for path, axis in axes.items() if axis.when):
        for value in columns[path]:
            yield without_idle(axes, {**first, **_conditions_of(axes, path), path: value})


def place(axes: Mapping[str, Axis], point: Point) -> list[float]:
    """Where a point, or a row of results, stands among others, axis by axis; first, where an axis is not turned."""
    return [axis.place(point[path]) if point.get(path, "") != "" else -math.inf for path, axis in axes.items()]


def _conditions_of(axes: Mapping[str, Axis], path: str) -> dict[str, Any]:
    """Values that let an axis be turned, those of the axes that it depends on included."""
    found: dict[str, Any] = {}
    for other, values in axes[path].conditions.items():
        found |= {**_conditions_of(axes, other), other: values[0]}
    return found


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) < 1e-9 * max(1.0, abs(number))


def show(value: Any) -> str:
    """A knob's value as people write it: ``1`` for 1.0, ``0.001`` for 1e-3."""
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:g}" if math.isfinite(value) else str(value)
    return str(value)
