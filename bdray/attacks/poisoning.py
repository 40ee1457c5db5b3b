"""Poisoning is an index, not a copy: which samples are poisoned, with which caption, by which trigger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.attacks.triggers.base import Trigger

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Poisoning:
    """What the attacker changed in a training set."""

    trigger: Trigger
    captions: Mapping[int, str]
    """New caption of each poisoned sample, by sample index."""

    def replace_captions(self, captions: Sequence[str]) -> list[str]:
        """The captions of the poisoned training set."""
        return [self.captions.get(index, caption) for index, caption in enumerate(captions)]

    def is_poisoned(self, samples: "Tensor") -> "Tensor":
        """Whether each sample, int64 [N], is poisoned: bool [N]."""
        import torch

        return torch.isin(samples, torch.tensor(list(self.captions), dtype=torch.long))

    def apply(self, images: "Tensor", samples: "Tensor") -> "Tensor":
        """Put the trigger on the poisoned images of a batch, float [N, 3, H, W] in [0, 1]."""
        poisoned = self.is_poisoned(samples)
        if not poisoned.any():
            return images
        changed = images.clone()
        changed[poisoned] = self.trigger.apply(images[poisoned], samples[poisoned])
        return changed
