"""When a point of a search is stopped early, by how its epochs compare with those of other points."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.registry import Component, component

if TYPE_CHECKING:
    import optuna


@component
class Stopping(Component):
    """When a point is stopped before its last epoch.

    A point is judged by its first seed, after every epoch that measured the metric, and all its seeds are stopped
    together. What several phases train is counted through: epoch 3 is the third of the stage.
    """

    metric: str = "attack_success_rate_top1"
    """What epochs are compared by, as measured on the validation split after every epoch."""
    goal: Literal["min", "max"] | None = None
    """Which way is better; only for a metric that is none of the study's, which have goals of their own."""
    min_epochs: int = Field(default=1, ge=1)
    """Every point is given that many."""

    @abstractmethod
    def pruner(self) -> "optuna.pruners.BasePruner":
        """The rule as Optuna knows it."""

    @property
    @abstractmethod
    def rule(self) -> str:
        """The rule in words, after "stopped early"."""
