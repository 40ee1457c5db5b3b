"""CleanerCLIP's sub-captions: which samples of an epoch get some, and what these are."""

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdray import config
from bdray.data.cache import shared
from bdray.models.tokenizer import Tokenizer
from bdray.objective import Batch
from bdray.text.parsers.base import CaptionParser, ParsedCaption
from bdray.text.sub_captions import SubCaptions, counterfactual, factual, simplify
from bdray.text.words import split_words
from bdray.training.captions import identity

SALT = 0xFAC7
"""Lets the draw of samples be another than a training's other draws from the same seed."""


@dataclass(frozen=True, kw_only=True)
class SubCaptionedBatch(Batch):
    """An extra batch."""

    factual_tokens: Tensor
    """Of the factual sub-captions, int64 [N, L]."""
    counterfactual_tokens: Tensor
    """Of the counterfactual sub-captions, int64 [N, L]."""


@dataclass(frozen=True)
class ExtraBatches:
    """Those of one epoch, with what is said of their samples."""

    samples: NDArray[np.int64]
    """[batches, batch_size], none twice."""
    _ordered: NDArray[np.int64]
    """The same samples, [samples]."""
    _tokens: Tensor
    """Of their sub-captions, in that order, int32 [samples, 2, L]."""

    def tokens(self, samples: NDArray[np.int64]) -> Tensor:
        """Token ids of some samples' factual and counterfactual sub-captions, int32 [len(samples), 2, L]."""
        return self._tokens[torch.from_numpy(np.searchsorted(self._ordered, samples))]


@dataclass(frozen=True)
class SubCaptionSource:
    """A pure function of (seed, epoch, sample): factual sub-captions stay, counterfactual ones change with the epoch.

    Captions are parsed when they are first drawn: K of each epoch, not all of a training set that may be 500 times
    as large.
    """

    captions: Sequence[str]
    """Of the training set. Those without words are never drawn."""
    parser: CaptionParser
    tokenizer: Tokenizer
    seed: int
    number: int
    """K, samples that get sub-captions in an epoch; the extra batches are full, so it is rounded up to whole ones."""
    cache: Path | None = None
    """Folder in which the trials of a node share token ids; None keeps nothing."""
    _parsed: dict[int, ParsedCaption] = field(default_factory=dict, repr=False)
    """Captions drawn so far, by sample."""

    @cached_property
    def _candidates(self) -> NDArray[np.int64]:
        """Samples whose captions have words."""
        return np.array([sample for sample, caption in enumerate(self.captions) if split_words(caption)], np.int64)

    def num_batches(self, batch_size: int) -> int:
        """Extra batches of an epoch: enough for K samples, or all that can be filled."""
        return min(-(-self.number // batch_size), len(self._candidates) // batch_size)

    def draw(self, epoch: int, batch_size: int) -> NDArray[np.int64]:
        """Samples of an epoch's extra batches, [batches, batch_size], none twice."""
        order = np.random.default_rng([self.seed, epoch, SALT]).permutation(self._candidates)
        return order[: self.num_batches(batch_size) * batch_size].reshape(-1, batch_size)

    def sub_captions(self, epoch: int, sample: int) -> SubCaptions:
        """What a sample gets in an epoch in which it is drawn."""
        caption = self.captions[sample]
        if sample not in self._parsed:
            self._parsed[sample] = simplify(self.parser.parse(caption))
        parsed, rng = self._parsed[sample], random.Random(f"{self.seed}/{epoch}/{sample}")
        return SubCaptions(caption, factual(parsed), counterfactual(parsed, rng))

    def epoch(self, epoch: int, batch_size: int) -> "ExtraBatches":
        """An epoch's extra batches."""
        drawn = self.draw(epoch, batch_size)
        ordered = np.sort(drawn, axis=None)
        return ExtraBatches(drawn, ordered, self._tokens(epoch, ordered))

    def _tokens(self, epoch: int, samples: NDArray[np.int64]) -> Tensor:
        """Token ids of factual and of counterfactual sub-captions, int32 [len(samples), 2, L]."""
        shape = len(samples), 2, self.tokenizer.context_length
        if self.cache is not None:
            captions = [self.captions[sample] for sample in samples.tolist()]
            drawn = [config.dump(self.parser), self.seed, epoch, samples.tolist()]
            path = self.cache / f"sub-captions-{identity(captions, self.tokenizer, *drawn)}.npy"
            found = shared(path, shape, np.int32, lambda: [self._made(epoch, samples).numpy()])
            if found is not None:
                return torch.from_numpy(found)
        return self._made(epoch, samples)

    def _made(self, epoch: int, samples: NDArray[np.int64]) -> Tensor:
        made = [self.sub_captions(epoch, sample) for sample in samples.tolist()]
        kinds = [one.factual for one in made], [one.counterfactual for one in made]
        return torch.stack([self.tokenizer(kind).int() for kind in kinds], dim=1)

    def write(self, path: Path, batch_size: int, count: int) -> None:
        """Write a CSV file of ``count`` sub-captions, or as many as there are, of the first epoch's first batches."""
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["sample", "caption", "factual", "counterfactual"])
            for sample in self.draw(0, batch_size).flat[:count].tolist():
                made = self.sub_captions(0, sample)
                rows.writerow([sample, made.caption, made.factual, made.counterfactual])
