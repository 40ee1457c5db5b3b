"""Median: a point that falls behind half of the finished ones is stopped."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.registry import component
from bdray.study.stopping.base import Stopping

if TYPE_CHECKING:
    import optuna


@component
class Median(Stopping):
    """Stops a point whose best epoch so far is worse than the median of finished points at the same epoch.

    The rule of Google Vizier (Golovin et al. 2017), as Optuna has it.
    """

    type: Literal["median"] = "median"
    min_points: int = Field(default=5, ge=1)
    """Points that must have finished before any is stopped."""

    def pruner(self) -> "optuna.pruners.BasePruner":
        import optuna

        return optuna.pruners.MedianPruner(n_startup_trials=self.min_points, n_warmup_steps=self.min_epochs)

    @property
    def rule(self) -> str:
        return (
            "where the best epoch so far is worse than the median of the finished points, "
            f"from epoch {self.min_epochs} on and after {self.min_points} points"
        )
