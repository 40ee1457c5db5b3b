"""Second views of images: AutoAugment, computed once for all trials of a node that need the same ones."""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import AutoAugment

VERSION = 2
"""Counted up whenever the same seed gives other views."""
MAX_CACHED_BYTES = 2**26
"""An epoch whose views take more than this is augmented batch by batch instead (64 MiB: 20,000 scenes)."""

_auto_augment = AutoAugment()


def augment(images: Tensor, seed: int, epoch: int, samples: Tensor) -> Tensor:
    """AutoAugment (Cubuk et al. 2019, ImageNet policy) as CleanCLIP uses it, App. D.2.

    Args:
        images: uint8 [N, 3, H, W].
        seed: Seed of the training.
        epoch: Every epoch draws new policies.
        samples: Indices that, with seed and epoch, decide each image's policy, int64 [N].
    """
    with torch.random.fork_rng(devices=[]):
        views = []
        for image, sample in zip(images, samples.tolist(), strict=True):
            # The CPU generator looks at the lowest 32 bits of a seed only, so these are hashed and not packed into one.
            torch.default_generator.manual_seed(int(np.random.SeedSequence([seed, epoch, sample]).generate_state(1)[0]))
            views.append(_auto_augment(image))
    return torch.stack(views)


@dataclass(frozen=True)
class Views:
    """Augmented images of one training.

    Views depend on images, seed and epoch, not on the model or the loss: the trials of an ablation share them. They are
    kept as one file an epoch, and read as a memory map.
    """

    images: NDArray[np.uint8]
    """[N, 3, H, W]"""
    seed: int
    cache: Path | None = None
    """Folder of the files; None augments batch by batch."""

    def batch(self, epoch: int, chosen: NDArray[np.int64]) -> Tensor:
        """Views of the chosen samples, uint8 [len(chosen), 3, H, W]."""
        if self.cache is None or self.images.nbytes > MAX_CACHED_BYTES:
            return self._augmented(epoch, chosen)
        path = self.cache / f"views-v{VERSION}-{self._identity}-{self.seed}-{epoch}.npy"
        if not path.exists():
            _write(path, lambda: self._augmented(epoch, np.arange(len(self.images))).numpy())
        return torch.from_numpy(np.load(path, mmap_mode="r")[chosen])

    def _augmented(self, epoch: int, chosen: NDArray[np.int64]) -> Tensor:
        return augment(torch.from_numpy(self.images[chosen]), self.seed, epoch, torch.from_numpy(chosen))

    @cached_property
    def _identity(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.images).data).hexdigest()[:16]


def _write(path: Path, make: Callable[[], NDArray[np.uint8]]) -> None:
    """Write an array so that it appears whole; if two processes do it at once, they write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.npy")
    np.save(partial, make())
    partial.replace(path)
