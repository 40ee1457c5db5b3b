"""The knobs that a study turns."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from bdray.registry import component
from bdray.report import study as study_file

AFTER_VICTIM = {"defense", "evaluation"}
"""Parts of an experiment that a victim does not depend on."""
Point = Mapping[str, Any]
"""A value for each knob, by its dotted path in the experiment."""


@component
class Axis:
    """One knob: the values to try, a range to search in, or named variants of the experiment."""

    label: str | None = None
    """How tables and figures name the knob; by default the last part of its path."""
    values: tuple[bool | int | float | str, ...] | None = Field(default=None, min_length=1)
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
    log: bool = False
    """Search the range on a logarithmic scale."""
    integer: bool = False
    """Only whole numbers."""

    @model_validator(mode="after")
    def _is_values_or_range(self) -> Self:
        if self.values is not None or self.variants is not None:
            if (self.low, self.high) != (None, None) or (self.values is not None and self.variants is not None):
                raise ValueError("give one of values, variants, and low with high")
            if len(set(self.choices)) != len(self.choices):
                raise ValueError("every value must be given once")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give values, variants, or both low and high")
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("low must be below high, and above 0 on a logarithmic scale")
        return self

    @property
    def choices(self) -> tuple[bool | int | float | str, ...]:
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
        )

    def place(self, value: Any) -> float:
        """Where a value stands among the others."""
        return self.choices.index(value) if self.choices else float(value)

    def name(self, path: str) -> str:
        """The label, or the last part of the knob's path."""
        return self.label or path.rpartition(".")[2]


def probes(axes: Mapping[str, Axis]) -> Iterator[Point]:
    """A few points that, between them, hold every value and both ends of every range."""
    columns = {path: axis.choices or (axis.low, axis.high) for path, axis in axes.items()}
    for index in range(max(map(len, columns.values()), default=1)):
        yield {path: column[min(index, len(column) - 1)] for path, column in columns.items()}


def show(value: Any) -> str:
    """A knob's value as people write it: ``1`` for 1.0, ``0.001`` for 1e-3."""
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:g}" if math.isfinite(value) else str(value)
    return str(value)
