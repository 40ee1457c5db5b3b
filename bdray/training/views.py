"""Second views of images, computed once for all trials of a node that need the same ones."""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from bdray.data.base import Images

VERSION = 2
"""Counted up whenever the same seed gives other views."""
MAX_CACHED_BYTES = 2**26
"""An epoch whose views take more than this is augmented batch by batch instead (64 MiB: 20,000 scenes)."""

Policy = Literal["autoaugment", "roclip"]
"""How images are augmented."""


def _auto_augment(height: int, width: int) -> Callable[[Tensor], Tensor]:
    """AutoAugment (Cubuk et al. 2019, ImageNet policy), as CleanCLIP uses it, App. D.2."""
    policy: Callable[[Tensor], Tensor] = v2.AutoAugment()
    return policy


def _roclip(height: int, width: int) -> Callable[[Tensor], Tensor]:
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


POLICIES: Mapping[Policy, Callable[[int, int], Callable[[Tensor], Tensor]]] = {
    "autoaugment": _auto_augment,
    "roclip": _roclip,
}
"""Policies for images of a height and width: each takes and gives uint8 [3, H, W] and draws from torch's generator."""


@cache
def _transform(policy: Policy, height: int, width: int) -> Callable[[Tensor], Tensor]:
    return POLICIES[policy](height, width)


def augment(images: Tensor, seed: int, epoch: int, samples: Tensor, policy: Policy = "autoaugment") -> Tensor:
    """Second views, a pure function of image, seed, epoch and sample.

    Args:
        images: uint8 [N, 3, H, W].
        seed: Seed of the training.
        epoch: Every epoch draws anew.
        samples: Indices that, with seed and epoch, decide what each image draws, int64 [N].
        policy: How images are augmented.
    """
    transform = _transform(policy, *images.shape[-2:])
    with torch.random.fork_rng(devices=[]):
        views = []
        for image, sample in zip(images, samples.tolist(), strict=True):
            # The CPU generator looks at the lowest 32 bits of a seed only, so these are hashed and not packed into one.
            torch.default_generator.manual_seed(int(np.random.SeedSequence([seed, epoch, sample]).generate_state(1)[0]))
            views.append(transform(image))
    return torch.stack(views)


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
        if self.cache is None or self.images.nbytes > MAX_CACHED_BYTES:
            return self._augmented(epoch, chosen)
        path = self.cache / f"views-v{VERSION}-{self.policy}-{self._identity}-{self.seed}-{epoch}.npy"
        if not path.exists():
            _write(path, lambda: self._augmented(epoch, np.arange(len(self.images))).numpy())
        return torch.from_numpy(np.load(path, mmap_mode="r")[chosen])

    def _augmented(self, epoch: int, chosen: NDArray[np.int64]) -> Tensor:
        return augment(torch.from_numpy(self.images[chosen]), self.seed, epoch, torch.from_numpy(chosen), self.policy)

    @cached_property
    def _identity(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.images[:]).data).hexdigest()[:16]


def _write(path: Path, make: Callable[[], NDArray[np.uint8]]) -> None:
    """Write an array so that it appears whole; if two processes do it at once, they write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.npy")
    np.save(partial, make())
    partial.replace(path)
