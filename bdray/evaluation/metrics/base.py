"""What a metric is, and the features that all metrics share."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bdray.registry import Component

if TYPE_CHECKING:
    from torch import Tensor


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
