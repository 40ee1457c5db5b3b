"""What a search is: something that proposes points and learns from their results."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bdray.registry import Component
from bdray.study.space import Axis, Point


@dataclass(frozen=True)
class Proposal:
    """A point to run with every seed of the study."""

    number: int
    """Unique within a study; the same number after a restart means the same proposal."""
    point: Point


class Proposer(Protocol):
    """A search in progress, on the driver."""

    def ask(self) -> Proposal | None:
        """The next point, or None if there is none left."""
        ...

    def tell(self, proposal: Proposal, metrics: Mapping[str, float] | None) -> None:
        """Learn the metrics of a finished point, averaged over seeds; None if it failed."""
        ...


class Search(Component):
    """How the points of a study are chosen."""

    @abstractmethod
    def check(self, axes: Mapping[str, Axis], metrics: Mapping[str, str]) -> None:
        """Refuse axes that this search cannot walk.

        Raises:
            ConfigError: With the axis and the rule.
        """

    @abstractmethod
    def planned(self, axes: Mapping[str, Axis]) -> int:
        """Number of points that will be proposed."""

    @abstractmethod
    def open(self, axes: Mapping[str, Axis], metrics: Mapping[str, str], folder: Path) -> Proposer:
        """Start, or continue what an earlier run left in ``folder``.

        Args:
            axes: Knobs by dotted path.
            metrics: ``max`` or ``min`` by name of metric: the objectives.
            folder: The study's own folder on the driver's disk.
        """
