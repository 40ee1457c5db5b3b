"""Successive halving: at each of a few epochs only the best fraction goes on."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.registry import component
from bdray.study.stopping.base import Stopping

if TYPE_CHECKING:
    import optuna


@component
class Halving(Stopping):
    """Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934).

    Of the points that reach ``min_epochs``, then ``reduction_factor`` times as many, and so on, only those go on that
    are among the best ``1 / reduction_factor`` so far; as long as there are fewer points, the best one.
    """

    type: Literal["halving"] = "halving"
    reduction_factor: int = Field(default=3, ge=2)
    """η in the paper."""

    def pruner(self) -> "optuna.pruners.BasePruner":
        import optuna

        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=self.min_epochs, reduction_factor=self.reduction_factor
        )

    @property
    def rule(self) -> str:
        first, factor = self.min_epochs, self.reduction_factor
        return f"unless among the best 1/{factor} at epochs {first}, {first * factor}, {first * factor**2}, ..."
