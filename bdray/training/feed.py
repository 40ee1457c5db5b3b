"""Batches for training, as a pure function of (seed, epoch, step): poisoned, augmented, tokenized, normalized."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdray.attacks.poisoning import Poisoning
from bdray.data.base import Images
from bdray.models.clip import normalize
from bdray.models.text_tower import without_padding
from bdray.objective import Batch
from bdray.text.base import TextAugmentation
from bdray.training.ahead import ahead
from bdray.training.sub_captions import SubCaptionedBatch, SubCaptionSource
from bdray.training.views import Policy, Views, augment


@dataclass(frozen=True)
class Feed:
    """The training set as one worker sees it.

    Nothing here has a state: batch ``step`` of ``epoch`` is the same whenever, wherever and in whichever order it is
    asked for. Resuming in the middle of a training therefore needs no random state of the loader, and the samples
    and augmentations of a global batch do not depend on the number of workers.
    """

    images: Images
    """[N, 3, H, W]"""
    tokens: Tensor
    """Of the (poisoned) captions, integers [N, L]."""
    batch_size: int
    """Samples per step over all workers."""
    seed: int
    augmented_tokens: Tensor | None = None
    """Of the augmented captions, integers [N, L]; None where no views are needed."""
    image_augmentation: Policy = "autoaugment"
    """Makes the second views of images."""
    poisoning: Poisoning | None = None
    sub_captions: SubCaptionSource | None = None
    """Gives some samples, in extra batches, sub-captions."""
    cache: Path | None = None
    """Folder in which the trials of a node share augmented images."""
    rank: int = 0
    world_size: int = 1
    device: torch.device = torch.device("cpu")
    loader_processes: int = 0
    """Processes that make batches ahead; 0: the training itself makes them."""

    def __post_init__(self) -> None:
        assert self.batch_size % self.world_size == 0, "workers must have equal shares of a batch"

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch with its extra ones; an incomplete batch at the end is dropped, as in the papers' code."""
        return self._usual_steps + self._extra_steps

    @property
    def _usual_steps(self) -> int:
        return len(self.images) // self.batch_size

    @cached_property
    def _extra_steps(self) -> int:
        return self.sub_captions.num_batches(self.batch_size) if self.sub_captions else 0

    def epoch(self, epoch: int, *, views: bool = True, first: int = 0) -> Iterator[Batch]:
        """This worker's batches of one epoch, from the step ``first`` on.

        Args:
            epoch: Counted from 0.
            views: Whether anybody wants second views in it.
            first: Step to begin at; those before it cost nothing.
        """
        order = np.random.default_rng([self.seed, epoch, 0xDA7A]).permutation(len(self.images))
        usual = iter(order[: self._usual_steps * self.batch_size].reshape(-1, self.batch_size))
        extra = iter(self.sub_captions.draw(epoch, self.batch_size) if self.sub_captions else ())
        steps = [
            (self._share(next(extra if is_extra else usual)), is_extra)
            for is_extra in spread(self._extra_steps, self.steps_per_epoch)
        ]

        def make(step: tuple[NDArray[np.int64], bool]) -> _Raw:
            samples, is_extra = step
            return self._sub_captioned(epoch, samples) if is_extra else self._raw(epoch, samples, views=views)

        for raw in ahead(make, steps[first:], self.loader_processes):
            yield self._batch(raw)

    def _share(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """This worker's part of a global batch."""
        return np.sort(batch.reshape(self.world_size, -1)[self.rank])

    def _sub_captioned(self, epoch: int, chosen: NDArray[np.int64]) -> "_Raw":
        assert self.sub_captions is not None
        factual, counterfactual = without_padding(*self.sub_captions.tokens(epoch, chosen))
        return replace(self._raw(epoch, chosen, views=False), sub_captions=(factual, counterfactual))

    def _raw(self, epoch: int, chosen: NDArray[np.int64], *, views: bool) -> "_Raw":
        """All that takes a CPU."""
        samples = torch.from_numpy(chosen)
        pixels = torch.from_numpy(self.images[chosen])
        poisoned, triggered = torch.zeros(len(samples), dtype=torch.bool), None
        if self.poisoning is not None:
            poisoned = self.poisoning.is_poisoned(samples)
            if poisoned.any():
                triggered = self.poisoning.trigger.apply(pixels[poisoned].float() / 255, samples[poisoned])
        augmented = augmented_tokens = None
        (tokens,) = without_padding(self.tokens[samples])
        if views and self.augmented_tokens is not None:
            # They pass the tower together, so both are as long as the longer ones.
            tokens, augmented_tokens = without_padding(self.tokens[samples], self.augmented_tokens[samples])
            augmented = self._views.batch(epoch, chosen)
            if triggered is not None:  # the trigger is part of what is augmented
                shown = (triggered * 255).round().to(torch.uint8)
                augmented[poisoned] = augment(shown, self.seed, epoch, samples[poisoned], self.image_augmentation)
        return _Raw(pixels, tokens, samples, poisoned, triggered, augmented, augmented_tokens)

    def _batch(self, raw: "_Raw") -> Batch:
        """What is left for the device: a quarter of the bytes travel there."""
        images = self._on_device(raw.pixels).float() / 255
        if raw.triggered is not None:
            images[self._on_device(raw.is_poisoned.nonzero().flatten())] = self._on_device(raw.triggered)
        batch = Batch(
            images=_prepared(images),
            tokens=self._on_device(raw.tokens).long(),
            samples=self._on_device(raw.samples),
            is_poisoned=raw.is_poisoned,
        )
        if raw.augmented is not None and raw.augmented_tokens is not None:
            views = _prepared(self._on_device(raw.augmented).float() / 255)
            batch = replace(
                batch, augmented_images=views, augmented_tokens=self._on_device(raw.augmented_tokens).long()
            )
        if raw.sub_captions is None:
            return batch
        factual, counterfactual = map(self._on_device, raw.sub_captions)
        return SubCaptionedBatch(**vars(batch), factual_tokens=factual, counterfactual_tokens=counterfactual)

    def _on_device(self, values: Tensor) -> Tensor:
        """Bring values to the device; to a GPU without waiting for it, so that the next batch is made meanwhile."""
        if self.device.type != "cuda":
            return values.to(self.device)
        return values.pin_memory().to(self.device, non_blocking=True)

    @cached_property
    def _views(self) -> Views:
        return Views(self.images, self.seed, self.cache, self.image_augmentation)


@dataclass(frozen=True)
class _Raw:
    """A batch before it is on the device, of as few bytes as possible; fields as those of :class:`Batch`."""

    pixels: Tensor
    """uint8 [N, 3, H, W], clean."""
    tokens: Tensor
    samples: Tensor
    is_poisoned: Tensor
    triggered: Tensor | None
    """The poisoned ones of the images, float in [0, 1]; None if there are none."""
    augmented: Tensor | None
    """uint8 [N, 3, H, W]"""
    augmented_tokens: Tensor | None
    sub_captions: tuple[Tensor, Tensor] | None = None
    """Tokens of factual and of counterfactual ones."""


def _prepared(images: Tensor) -> Tensor:
    """Normalize float images in [0, 1]."""
    return normalize(images).contiguous(memory_format=torch.channels_last)


def augment_captions(captions: Sequence[str], augmentation: TextAugmentation, seed: int) -> list[str]:
    """Second view of each caption, a pure function of seed and position."""
    return [augmentation.augment(caption, random.Random(f"{seed}/{index}")) for index, caption in enumerate(captions)]


def spread(count: int, length: int) -> Iterator[bool]:
    """A row of ``length`` in which ``count`` places, as even as can be, are marked."""
    for place in range(length):
        before, after = ((2 * at * count + length) // (2 * length) for at in (place, place + 1))
        yield after > before
