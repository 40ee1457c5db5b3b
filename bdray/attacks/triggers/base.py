"""What a trigger is: a function from images to images."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from pydantic import Field

from bdray import config
from bdray.registry import Component, component

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@component
class Trigger(Component):
    """Changes images so that a poisoned model sees the target in them.

    A trigger is a pure function of its fields, the image and the sample's index: the same image gets the same trigger
    in every epoch, on every worker and in every batch. Randomness that differs between samples comes from
    :mod:`bdray.attacks.triggers.noise`.
    """

    type: str
    seed: int = Field(default=0, ge=0)
    """Seed of the trigger's own randomness (pattern, places)."""

    @abstractmethod
    def apply(self, images: "Tensor", samples: "Tensor") -> "Tensor":
        """Return triggered copies of ``images``.

        Args:
            images: Float [N, 3, H, W] in [0, 1], before normalization.
            samples: Index of each image in its data set, int64 [N]; the only source of per-image variation.

        Returns:
            Float [N, 3, H, W] in [0, 1].
        """

    def check(self, image_size: int) -> None:
        """Refuse a configuration that makes no sense for square images of this side.

        Raises:
            ConfigError: With the rule and the numbers.
        """

    def identity(self) -> dict[str, Any]:
        """All that decides what the trigger does, as plain JSON: its fields, and the hash of any file it reads."""
        fields: dict[str, Any] = config.dump(self)
        return fields

    def generator(self, *salt: int) -> "torch.Generator":
        """A generator of its own for each combination of the trigger's seed and ``salt``."""
        import numpy as np
        import torch

        entropy = np.random.SeedSequence([self.seed, *salt]).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(entropy >> np.uint64(1)))
