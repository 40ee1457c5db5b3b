"""A victim that is trained here."""

from typing import Any, Literal

from bdray import config
from bdray.pipeline.victims.base import Victim
from bdray.registry import component
from bdray.training.optim import Recipe


@component
class TrainedVictim(Victim):
    """The attacker trains on poisoned data, from the clean base or from the model's first weights."""

    type: Literal["trained"] = "trained"
    recipe: Recipe
    """How the victim is trained."""

    def identity(self) -> dict[str, Any]:
        """All that decides its training, as plain JSON. It has no ``type``, for it once was the only kind there was."""
        tree: dict[str, Any] = config.dump(self)
        return {name: value for name, value in tree.items() if name != "type"}
