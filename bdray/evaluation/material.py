"""What a metric can ask a model for beside the features of the evaluation set: nothing is computed before it asks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdray.attacks.poisoned_set import PoisonedSet
from bdray.data.base import Pairs, Split
from bdray.data.tasks.base import TaskSource
from bdray.evaluation.detection import Bools, cosines, poisoned_mask
from bdray.evaluation.sharing import in_batches
from bdray.evaluation.zero_shot import image_features
from bdray.models.tokenizer import Tokenizer
from bdray.objective import Encoders


@dataclass(frozen=True)
class Sources:
    """Data that metrics may read, whatever the model is."""

    load: Callable[[Split], Pairs]
    """Reads a split of the experiment's data set."""
    task: Callable[[TaskSource], tuple[Pairs, Pairs]]
    """Reads a labeled set of a metric's own: images to learn from, and others to be judged by."""
    poisoned: Callable[[], PoisonedSet] | None = None
    """Gives what the victim was trained on; None where there is no attack."""


@dataclass(frozen=True)
class Labeled:
    """Features of images whose class is known."""

    features: Tensor
    """Not normalized, float32 [N, D] on the model's device."""
    labels: Tensor
    """int64 [N], likewise."""


@dataclass(frozen=True)
class Material:
    """More passes of one model, which is in eval mode and stays as it is."""

    model: Encoders
    tokenizer: Tokenizer
    sources: Sources
    shared: bool = False
    """Whether the workers of the process group take turns; then all of them ask the same."""

    def labeled(self, split: Split, count: int | None, seed: int) -> Labeled:
        """Features of a split's images that have a label.

        Args:
            split: Where they are from.
            count: How many, drawn at random and as equally per class as can be; None: all.
            seed: Of the draw.
        """
        pairs = self.sources.load(split)
        return self._labeled(pairs, drawn(pairs.labels, count, seed))

    def task(self, source: TaskSource) -> tuple[Labeled, Labeled]:
        """Features of all images of another task: those to learn from, and those to be judged by.

        They are computed once for metrics that ask for the same task one after the other.
        """
        if source not in self._tasks:
            self._tasks.clear()  # features of a million images take gigabytes
            learned, judged = (self._labeled(pairs, np.arange(len(pairs))) for pairs in self.sources.task(source))
            self._tasks[source] = learned, judged
        return self._tasks[source]

    @cached_property
    def _tasks(self) -> dict[TaskSource, tuple[Labeled, Labeled]]:
        return {}

    def _labeled(self, pairs: Pairs, chosen: NDArray[np.int64]) -> Labeled:
        labels = torch.from_numpy(pairs.labels[chosen])
        return Labeled(self.images(pairs, chosen), labels.to(self.model.logit_scale.device))

    def images(self, pairs: Pairs, chosen: NDArray[np.int64]) -> Tensor:
        """Features of some images, not normalized, float32 [n, D] on the model's device.

        Args:
            pairs: The split.
            chosen: Their positions in it, int64 [n].
        """

        def features(rows: Tensor) -> Tensor:
            pixels = torch.from_numpy(np.array(pairs.images[chosen[rows.numpy()]]))
            return image_features(self.model, pixels.float() / 255)

        with torch.no_grad():  # no inference mode, for a probe is trained on them
            return in_batches(len(chosen), features, shared=self.shared).float()

    @torch.inference_mode()
    def texts(self, captions: Sequence[str]) -> Tensor:
        """Features of captions, rows of unit length, float [N, D]."""
        device = self.model.logit_scale.device

        def encode(rows: Tensor) -> Tensor:
            tokens = self.tokenizer([captions[row] for row in rows.tolist()])
            found: Tensor = self.model.encode_text(tokens.to(device), normalize=True)
            return found

        return in_batches(len(captions), encode, shared=self.shared)

    @cached_property
    def poisoned(self) -> PoisonedSet | None:
        """What the victim was trained on; None where there is no attack."""
        return self.sources.poisoned() if self.sources.poisoned else None

    @cached_property
    def is_poisoned(self) -> Bools:
        """Which of its pairs are poisoned, bool [N]."""
        assert self.poisoned is not None
        return poisoned_mask(self.poisoned)

    @cached_property
    def _scores(self) -> NDArray[np.float32]:
        assert self.poisoned is not None
        return np.full(len(self.poisoned.pairs), np.nan, np.float32)

    def similarities(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Cosine of image and caption of pairs of the poisoned set, as the victim saw them; each is computed once.

        Args:
            positions: Of the pairs in the set, int64 [n].

        Returns:
            float32 [n].
        """
        given = self.poisoned
        assert given is not None
        missing = np.unique(positions[np.isnan(self._scores[positions])])

        def score(rows: Tensor) -> Tensor:
            part = torch.from_numpy(missing[rows.numpy()])
            shown = [given.poisoning.captions.get(row, given.pairs.captions[row]) for row in part.tolist()]
            return cosines(self.model, given, self.tokenizer(shown), part)

        if len(missing):
            self._scores[missing] = in_batches(len(missing), score, shared=self.shared).cpu().numpy()
        return self._scores[positions]


def drawn(labels: NDArray[np.int64], count: int | None, seed: int) -> NDArray[np.int64]:
    """Sorted positions of labeled samples; of ``count``, as many of each class as of any other, as far as they go."""
    known = np.flatnonzero(labels >= 0)
    if count is None or count >= len(known):
        return known
    shuffled = np.random.default_rng([seed, 0x1ABE1]).permutation(known)
    order = np.argsort(labels[shuffled], kind="stable")
    grouped = labels[shuffled][order]
    turn = np.arange(len(grouped)) - np.searchsorted(grouped, grouped)  # place of each sample in its class
    taken = np.argsort(turn, kind="stable")[:count]  # every class gives one before any gives its next
    return np.sort(shuffled[order[taken]])
