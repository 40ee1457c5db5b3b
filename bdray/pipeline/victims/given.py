"""A victim that was trained elsewhere."""

from typing import Literal

from pydantic import Field

from bdray.pipeline.victims.base import Victim
from bdray.registry import component


@component
class GivenVictim(Victim):
    """A file of weights that somebody poisoned. Nothing is trained; it is the same for all seeds of a study.

    The attack still says by which trigger and target models are judged. How many samples it poisons, and which, counts
    only where ``poisoned_set`` is ``attack``.
    """

    type: Literal["given"] = "given"
    weights: str = Field(min_length=1)
    """The file, in any format that ``model.weights`` may have; of the architecture ``model.architecture``."""
    poisoned_set: Literal["unknown", "attack"] = "unknown"
    """What it was trained on. ``attack``: what the experiment's data, attack and seed give, with ``num_samples``.
    ``unknown``: nobody can tell, so that defenses and metrics that read it, or its clean part, are refused."""

    @property
    def knows_poisoned_set(self) -> bool:
        return self.poisoned_set == "attack"
