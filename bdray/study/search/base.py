"""What a search is: something that proposes points and learns from their results."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bdray.registry import Component
from bdray.report import study as study_file
from bdray.study.search.meter import Meter
from bdray.study.space import Axis, Point


@dataclass(frozen=True)
class Pruned:
    """How far a point came that was stopped early."""

    history: tuple[dict[str, float], ...]
    """The metrics of its epochs, with its first seed."""

    @property
    def epoch(self) -> int:
        """The last one."""
        return int(self.history[-1]["epoch"])


@dataclass(frozen=True)
class Proposal:
    """A point to run with every seed of the study."""

    number: int
    """Unique within a study; the same number after a restart means the same proposal."""
    point: Point
    pruned: Pruned | None = None
    """Set where an earlier run stopped it early: then it is not run again."""
    is_elsewhere: bool = False
    """Whether another driver of the search ran it: then its results are shown if the store has them."""


@dataclass(frozen=True)
class Home:
    """Where a search keeps its history, and what it is told of the run around it."""

    name: str
    """Of the history; no other study's."""
    folder: Path
    """The study's own, on the driver's disk."""
    storage: str | None = None
    """Database that several drivers share; None: a file in the folder."""
    meter: Meter = field(default_factory=Meter)
    """What this run has computed so far."""


class Proposer(ABC):
    """A search in progress, on the driver."""

    limit: str = ""
    """What keeps it from proposing more, in words; empty until then, and for a grid, which just ends."""

    @abstractmethod
    def ask(self) -> Proposal | None:
        """The next point, or None if there is none left."""

    @abstractmethod
    def tell(
        self, proposal: Proposal, metrics: Mapping[str, float] | None, victim: Mapping[str, float] | None = None
    ) -> None:
        """Learn what came of a point.

        Args:
            proposal: The point.
            metrics: Averaged over seeds; None if it failed.
            victim: The same of its victims; None if it does not have one for every seed.
        """

    def judge(self, proposal: Proposal, metrics: Mapping[str, Any], *, is_last: bool) -> Pruned | None:
        """Look at an epoch of a point's first seed, and stop the point if it is hopeless.

        A point that was stopped is not told. Epochs that come again after a restart are not judged again.
        """
        return None

    def prune(self, proposal: Proposal, pruned: Pruned) -> None:
        """Note that a point is stopped because it means the same as another one, which was."""
        raise NotImplementedError

    def close(self) -> None:  # noqa: B027 - not all have something to leave
        """Leave the history to others; what was not told is for the next run."""


class Search(Component):
    """How the points of a study are chosen."""

    @abstractmethod
    def check(self, axes: Mapping[str, Axis], metrics: Mapping[str, str]) -> None:
        """Refuse axes that this search cannot walk.

        Raises:
            ConfigError: With the axis and the rule.
        """

    @abstractmethod
    def planned(self, axes: Mapping[str, Axis]) -> int | None:
        """Number of points that will be proposed; None where a budget decides."""

    @abstractmethod
    def open(self, axes: Mapping[str, Axis], metrics: Mapping[str, str], home: Home) -> Proposer:
        """Start, or continue what an earlier run left in its home.

        Args:
            axes: Knobs by dotted path.
            metrics: ``max`` or ``min`` by name of metric: the objectives.
            home: Where the history is.

        Raises:
            SearchError: If the history cannot be used.
        """

    @property
    def described(self) -> study_file.Search | None:
        """The search as the report knows it; None for a grid."""
        return None

    @property
    def watched(self) -> str | None:
        """The metric of every epoch that it goes by; None if it only looks at results."""
        return None
