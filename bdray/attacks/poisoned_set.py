"""A poisoned training set: clean originals, and what the attacker changes in them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.attacks.poisoning import Poisoning
from bdray.data.base import Pairs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class PoisonedSet:
    """What the victim is trained on."""

    pairs: Pairs
    """Clean originals."""
    poisoning: Poisoning
    """What the attacker changes in them, by position in ``pairs``."""
    samples: "NDArray[np.int64]"
    """Index of each pair in the train split."""

    @property
    def poisoned_samples(self) -> "NDArray[np.int64]":
        """Indices of the poisoned pairs in the train split."""
        return self.samples[sorted(self.poisoning.captions)]
