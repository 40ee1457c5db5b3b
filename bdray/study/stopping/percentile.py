"""Percentile: a point that falls behind most finished ones is stopped."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.registry import component
from bdray.study.stopping.base import Stopping

if TYPE_CHECKING:
    import optuna


@component
class Percentile(Stopping):
    """Stops a point whose best epoch so far is worse than what most finished points had at the same epoch."""

    type: Literal["percentile"] = "percentile"
    percentile: float = Field(default=50.0, gt=0, lt=100)
    """Percentage of the finished points that it must be among."""
    min_points: int = Field(default=5, ge=1)
    """Points that must have finished before any is stopped."""

    def pruner(self) -> "optuna.pruners.BasePruner":
        import optuna

        return optuna.pruners.PercentilePruner(
            self.percentile, n_startup_trials=self.min_points, n_warmup_steps=self.min_epochs
        )

    @property
    def rule(self) -> str:
        return (
            f"where the best epoch so far is not among the best {self.percentile:g}% of the finished points, "
            f"from epoch {self.min_epochs} on and after {self.min_points} points"
        )
