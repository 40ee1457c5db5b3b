"""Second views of images, computed once for all trials of a node that need the same ones."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from bdray.data.base import Images
from bdray.data.cache import shared
from bdray.training import auto_augment
from bdray.training.auto_augment import Operation

Drawn = TypeVar("Drawn")
VERSION = 2
"""Counted up whenever the same seed gives other views."""
MAX_CACHED_BYTES = 2**26
"""An epoch whose views take more than this is augmented batch by batch instead (64 MiB: 20,000 scenes)."""

Policy = Literal["autoaugment", "roclip"]
"""How images are augmented."""


@cache
def roclip(height: int, width: int) -> Callable[[Tensor], Tensor]:
    """What RoCLIP does to images (Yang et al. 2023; utils/augment_image.py of the public code).

    There the blur has 21 pixels and a sigma of 0.1 to 2 at a size of 224; smaller images are blurred in proportion, at
    32 pixels by next to nothing.
    """
    scale = min(height, width) / 224
    kernel = max(3, 2 * round((21 * scale - 1) / 2) + 1)
    policy: Callable[[Tensor], Tensor] = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomResizedCrop((height, width)),
            v2.RandomApply([v2.ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.1)], p=0.8),
            v2.RandomGrayscale(p=0.2),
            v2.GaussianBlur(kernel, sigma=(0.1 * scale, 2.0 * scale)),
        ]
    )
    return policy


def augment(images: Tensor, seed: int, epoch: int, samples: Tensor, policy: Policy = "autoaugment") -> Tensor:
    """Second views, a pure function of image, seed, epoch and sample.

    Args:
        images: uint8 [N, 3, H, W].
        seed: Seed of the training.
        epoch: Every epoch draws anew.
        samples: Indices that, with seed and epoch, decide what each image draws, int64 [N].
        policy: How images are augmented.
    """
    if policy == "autoaugment":
        return auto_augment.apply(images, operations(seed, epoch, samples, *images.shape[-2:]))
    transform = roclip(*images.shape[-2:])
    return torch.stack(_each(seed, epoch, samples, lambda position: transform(images[position])))


def operations(seed: int, epoch: int, samples: Tensor, height: int, width: int) -> list[list[Operation]]:
    """What AutoAugment does to each of the images, as :func:`augment` draws it."""
    return _each(seed, epoch, samples, lambda position: auto_augment.draw(height, width))


def _each(seed: int, epoch: int, samples: Tensor, draw: Callable[[int], Drawn]) -> list[Drawn]:
    """Let the sample at each position draw from torch's generator, with a seed of its own."""
    found = []
    with torch.random.fork_rng(devices=[]):
        for position, sample in enumerate(samples.tolist()):
            # The CPU generator looks at the lowest 32 bits of a seed only, so these are hashed and not packed into one.
            torch.default_generator.manual_seed(int(np.random.SeedSequence([seed, epoch, sample]).generate_state(1)[0]))
            found.append(draw(position))
    return found


@dataclass(frozen=True)
class Views:
    """Augmented images of one training.

    Views depend on images, seed, epoch and policy, not on the model or the loss: the trials of an ablation share them.
    They are kept as one file an epoch, and read as a memory map.
    """

    images: Images
    """[N, 3, H, W]"""
    seed: int
    cache: Path | None = None
    """Folder of the files; None augments batch by batch."""
    policy: Policy = "autoaugment"

    def batch(self, epoch: int, chosen: NDArray[np.int64]) -> Tensor:
        """Views of the chosen samples, uint8 [len(chosen), 3, H, W], the caller's to change."""
        if self.cache is not None and self.images.nbytes <= MAX_CACHED_BYTES:
            path = self.cache / f"views-v{VERSION}-{self.policy}-{self._identity}-{self.seed}-{epoch}.npy"
            whole = shared(
                path, self.images.shape, np.uint8, lambda: [self._augmented(epoch, np.arange(len(self.images))).numpy()]
            )
            if whole is not None:
                return torch.from_numpy(whole[chosen])
        return self._augmented(epoch, chosen)

    def _augmented(self, epoch: int, chosen: NDArray[np.int64]) -> Tensor:
        return augment(torch.from_numpy(self.images[chosen]), self.seed, epoch, torch.from_numpy(chosen), self.policy)

    @cached_property
    def _identity(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.images[:]).data).hexdigest()[:16]
