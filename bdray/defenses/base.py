"""What a defense is: it turns a poisoned model into one that, it hopes, is not."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.registry import Component, component
from bdray.training.optim import Recipe

if TYPE_CHECKING:
    import open_clip

    from bdray.checkpoint import History
    from bdray.data.base import Pairs
    from bdray.training.session import Session


@component
class Defense(Component):
    """Repairs a poisoned model with the defender's data."""

    type: str
    recipe: Recipe
    """How the defense trains."""
    num_samples: int | None = Field(default=None, ge=2)
    """Clean pairs that the defender has, drawn at random; None: all there are."""
    clean_data: Literal["finetune", "train", "train_unpoisoned"] = "finetune"
    """Where these come from. ``finetune``: a split of their own, disjoint from what the attacker trained on. ``train``:
    the clean originals of the training split, poisoned samples among them, as in the papers. ``train_unpoisoned``:
    the same without the poisoned ones. The overlap with the poisoned set is recorded."""

    @property
    def views(self) -> int:
        """How many views of each sample pass the model in a step, to estimate what a run will cost."""
        return 1

    def check(self) -> None:
        """Refuse to start where something that the defense needs is not installed.

        Raises:
            BdrayError: That names it and how to get it.
        """

    @abstractmethod
    def run(self, model: "open_clip.CLIP", pairs: "Pairs", session: "Session") -> "History":
        """Repair ``model`` in place.

        Args:
            model: The poisoned model, on the session's device.
            pairs: The defender's clean pairs.
            session: Trains, reports and checkpoints.

        Returns:
            The metrics of every epoch.
        """
