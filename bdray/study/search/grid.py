"""Grid: every combination of the values."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from bdray.exceptions import ConfigError
from bdray.registry import component
from bdray.study.search.base import Proposal, Proposer, Search
from bdray.study.space import Axis


@component
class Grid(Search):
    """Runs every combination of the axes' values."""

    type: Literal["grid"] = "grid"

    def check(self, axes: Mapping[str, Axis], metrics: Mapping[str, str]) -> None:
        for path, axis in axes.items():
            if not axis.choices:
                raise ConfigError(
                    f"axes.{path}: a grid needs values or variants, not a range. Give these, or use search.type=optuna."
                )

    def planned(self, axes: Mapping[str, Axis]) -> int:
        return len(list(_points(axes)))

    def open(self, axes: Mapping[str, Axis], metrics: Mapping[str, str], folder: Path) -> Proposer:
        return _GridProposer(_points(axes))


class _GridProposer:
    def __init__(self, points: Iterator[Proposal]) -> None:
        self._points = points

    def ask(self) -> Proposal | None:
        return next(self._points, None)

    def tell(self, proposal: Proposal, metrics: Mapping[str, float] | None) -> None:
        """A grid has nothing to learn."""


def _points(axes: Mapping[str, Axis]) -> Iterator[Proposal]:
    combinations = itertools.product(*(axis.choices for axis in axes.values()))
    for number, values in enumerate(combinations):
        yield Proposal(number, dict(zip(axes, values, strict=True)))
