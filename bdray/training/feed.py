"""Batches for training, as a pure function of (seed, epoch, step): poisoned, augmented, tokenized, normalized."""

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
from bdray.training import auto_augment
from bdray.training.ahead import ahead
from bdray.training.auto_augment import Operation
from bdray.training.sub_captions import SubCaptionedBatch, SubCaptionSource
from bdray.training.views import Policy, Views, augment, operations


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
    augments_on_device: bool = False
    """Whether AutoAugment is done there, to whole batches; what each image gets is drawn here in any case."""
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
        extra = self.sub_captions.epoch(epoch, self.batch_size) if self.sub_captions else None
        extras = iter(extra.samples if extra else ())
        steps = [
            (self._share(next(extras if is_extra else usual)), is_extra)
            for is_extra in spread(self._extra_steps, self.steps_per_epoch)
        ]

        def make(step: tuple[NDArray[np.int64], bool]) -> _Raw:
            samples, is_extra = step
            raw = self._raw(epoch, samples, views=views and not is_extra)
            if not (extra and is_extra):
                return raw
            (both,) = without_padding(extra.tokens(samples).flatten(0, 1))
            return replace(raw, sub_captions=both.unflatten(0, (-1, 2)))

        for raw in ahead(make, steps[first:], self.loader_processes):
            yield self._batch(raw)

    def _share(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """This worker's part of a global batch."""
        return np.sort(batch.reshape(self.world_size, -1)[self.rank])

    def _raw(self, epoch: int, chosen: NDArray[np.int64], *, views: bool) -> "_Raw":
        """All that takes a CPU."""
        samples = torch.from_numpy(chosen)
        pixels = torch.from_numpy(self.images[chosen])
        poisoned, triggered = torch.zeros(len(samples), dtype=torch.bool), None
        if self.poisoning is not None:
            poisoned = self.poisoning.is_poisoned(samples)
            if poisoned.any():
                triggered = self.poisoning.trigger.apply(pixels[poisoned].float() / 255, samples[poisoned])
        if not views or self.augmented_tokens is None:
            (tokens,) = without_padding(self.tokens[samples])
            return _Raw(pixels, tokens, samples, poisoned, triggered)
        # They pass the tower together, so both are as long as the longer ones.
        tokens, augmented_tokens = without_padding(self.tokens[samples], self.augmented_tokens[samples])
        raw = _Raw(pixels, tokens, samples, poisoned, triggered, augmented_tokens=augmented_tokens)
        if self.augments_on_device and self.image_augmentation == "autoaugment":
            return replace(raw, operations=operations(self.seed, epoch, samples, *pixels.shape[-2:]))
        augmented = self._views.batch(epoch, chosen)
        if triggered is not None:  # the trigger is part of what is augmented
            augmented[poisoned] = augment(
                _stored(triggered), self.seed, epoch, samples[poisoned], self.image_augmentation
            )
        return replace(raw, augmented=augmented)

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
        augmented = self._on_device(raw.augmented) if raw.augmented is not None else None
        if raw.operations is not None:
            augmented = auto_augment.apply(_stored(images), raw.operations)
        if augmented is not None and raw.augmented_tokens is not None:
            batch = replace(
                batch,
                augmented_images=_prepared(augmented.float() / 255),
                augmented_tokens=self._on_device(raw.augmented_tokens).long(),
            )
        if raw.sub_captions is None:
            return batch
        factual, counterfactual = self._on_device(raw.sub_captions).long().unbind(1)
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
    augmented: Tensor | None = None
    """Second views, uint8 [N, 3, H, W], or instead of them"""
    operations: Sequence[Sequence[Operation]] | None = None
    """what the device makes them by."""
    augmented_tokens: Tensor | None = None
    sub_captions: Tensor | None = None
    """Tokens of factual and of counterfactual ones, [N, 2, L]."""


def _stored(images: Tensor) -> Tensor:
    """Float images in [0, 1] as files of 8 bits hold them."""
    return (images * 255).round().to(torch.uint8)


def _prepared(images: Tensor) -> Tensor:
    """Normalize float images in [0, 1]."""
    return normalize(images).contiguous(memory_format=torch.channels_last)


def spread(count: int, length: int) -> Iterator[bool]:
    """A row of ``length`` in which ``count`` places, as even as can be, are marked."""
    for place in range(length):
        before, after = ((2 * at * count + length) // (2 * length) for at in (place, place + 1))
        yield after > before
