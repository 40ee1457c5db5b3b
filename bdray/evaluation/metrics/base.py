"""What a metric is, and the features that all metrics share."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bdray import config
from bdray.data.base import Dataset, Split
from bdray.registry import Component

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from bdray.data.tasks.base import TaskSource
    from bdray.evaluation.material import Material


@dataclass(frozen=True)
class Features:
    """A model's view of an evaluation set, computed once for all metrics. Rows have unit length."""

    clean: "Tensor"
    """Of the images as they are, float [N, D]."""
    triggered: "Tensor"
    """Of the same images with the trigger, float [N, D]."""
    classes: "Tensor"
    """Zero-shot class weights, float [C, D]."""
    labels: "Tensor"
    """True classes, int64 [N]."""
    target: int
    """Class index of the attack's target."""
    clean_scores: "Tensor | None" = None
    """Of the classes by a trained head instead of ``classes``, float [N, C], for clean images."""
    triggered_scores: "Tensor | None" = None
    """The same for triggered images."""
    pixels: "Callable[[Tensor], tuple[Tensor, Tensor]] | None" = None
    """Images by position, int64 [n]: clean and triggered, float [n, 3, H, W] in [0, 1] on the CPU. None where only
    features are at hand."""
    clean_lengths: "Tensor | None" = None
    """Of the rows of ``clean`` before they were made unit vectors, float [N]."""
    triggered_lengths: "Tensor | None" = None
    """The same for ``triggered``."""
    captions: Sequence[str] = ()
    """Of the images; none where only features are at hand."""
    class_names: Sequence[str] = ()
    """Of the C classes, for people; likewise."""
    material: "Material | None" = None
    """More that the model can be asked, at the price of more passes; None where only features are at hand."""
    folder: "Path | None" = None
    """Files that are put here become files of the result; None: there is no place for any."""

    def scores(self, *, triggered: bool) -> "Tensor":
        """How well each class fits each image, float [N, C]: cosine similarities, or a head's logits."""
        own = self.triggered_scores if triggered else self.clean_scores
        if own is not None:
            return own
        return (self.triggered if triggered else self.clean) @ self.classes.T


class Metric(Component):
    """Turns features into named numbers. Shares are fractions in [0, 1]."""

    needs_trigger: ClassVar[bool] = False
    """Whether it looks at triggered images; then a clean base, which has no attack, is not judged by it."""
    every_epoch: ClassVar[bool] = True
    """Whether it is also measured after every epoch, and not only in the end."""
    reads_poisoned: ClassVar[bool] = False
    """Whether it reads what the victim was trained on, likewise; such a metric needs the trigger, too."""
    files: ClassVar[tuple[str, ...]] = ()
    """Names of the files that it leaves in :attr:`Features.folder`."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """What :meth:`measure` names its numbers, known beforehand."""

    @property
    def splits(self) -> tuple[Split, ...]:
        """Splits that it reads beside the evaluated one, through :attr:`Features.material`."""
        return ()

    @property
    def tasks(self) -> "tuple[TaskSource, ...]":
        """Labeled sets of its own that it reads, through :attr:`Features.material`."""
        return ()

    def pairs_read(self, trained: int, poisoned: int) -> int:
        """Pairs of the victim's training set that one measurement passes through the model, for its price.

        Metrics share them: of several, those of the one that reads most hold all others'.

        Args:
            trained: Pairs in the set.
            poisoned: How many of them are poisoned.
        """
        return trained if self.reads_poisoned else 0

    def images_read(self, data: Dataset) -> int:
        """Images of :attr:`splits` that one measurement passes through the model at most, for its price."""
        return sum(map(data.size, self.splits))

    def science(self) -> dict[str, Any]:
        """The fields that decide the numbers, as plain JSON, wherever files are."""
        fields: dict[str, Any] = config.dump(self)
        return fields

    def check(self, data: Dataset, cache: "Path") -> None:
        """Refuse a data set that it cannot be measured on, before anything is computed.

        Args:
            data: The experiment's.
            cache: Local folder for prepared data.

        Raises:
            BdrayError: That names what is missing and says what to do.
        """

    @abstractmethod
    def measure(self, features: Features) -> dict[str, float]:
        """Numbers by name; the names of different metrics differ."""


def class_ranks(scores: "Tensor", labels: "Tensor") -> "Tensor":
    """Position of a class in each image's ranking, float [N]; 0 is the top.

    Counts the classes that score higher, and half of those that score the same: the result does not depend on how a
    sort breaks ties, two classes of one name (ImageNet has two such pairs) do not push each other off the top, and a
    collapsed model, to which all classes are one, ranks every class in the middle.

    Args:
        scores: [N, C].
        labels: The class asked about for each image, int64 [N].
    """
    own = scores.gather(1, labels[:, None])
    higher = (~(scores <= own)).sum(1)  # not `scores > own`: a model that returns NaN comes last, not first
    ties = (scores == own).sum(1) - 1
    return higher + ties.clamp(min=0) / 2
