"""Grid: every combination of the values."""

from collections.abc import Iterator, Mapping
from typing import Literal

from bdray.exceptions import ConfigError
from bdray.registry import component
from bdray.study.search.base import Home, Proposal, Proposer, Search
from bdray.study.space import Axis, Point, combinations


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
        return sum(1 for _ in combinations(axes))

    def open(self, axes: Mapping[str, Axis], metrics: Mapping[str, str], home: Home) -> Proposer:
        return _GridProposer(combinations(axes))


class _GridProposer(Proposer):
    def __init__(self, points: Iterator[Point]) -> None:
        self._proposals = (Proposal(number, point) for number, point in enumerate(points))

    def ask(self) -> Proposal | None:
        return next(self._proposals, None)

    def tell(
        self, proposal: Proposal, metrics: Mapping[str, float] | None, victim: Mapping[str, float] | None = None
    ) -> None:
        """A grid has nothing to learn."""
