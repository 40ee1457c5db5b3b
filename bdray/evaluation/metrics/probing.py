"""What all linear probes have in common: how a linear classifier on frozen features is trained."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveFloat

from bdray.evaluation.metrics.base import Metric
from bdray.registry import component

if TYPE_CHECKING:
    from bdray.evaluation.material import Labeled
    from bdray.evaluation.probe import Classifier


@component
class Probing(Metric):
    """Trains a linear classifier on the frozen image tower.

    Features are not normalized, as in CleanCLIP's public code (src/evaluate.py:228-305).
    """

    every_epoch: ClassVar[bool] = False
    protocol: Literal["paper", "lbfgs"] = "paper"
    """``paper``: one layer by AdamW, a cosine without warmup. ``lbfgs``: logistic regression, which has neither
    learning rate nor order of batches."""
    epochs: int = Field(default=10, ge=1)
    """Of ``paper``."""
    batch_size: int = Field(default=64, ge=1)
    """Of ``paper``."""
    learning_rate: float = Field(default=0.005, gt=0)
    """Of ``paper``, at the start."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Of ``paper``, for all but the bias."""
    strengths: tuple[PositiveFloat, ...] = Field(default=(0.001, 0.01, 0.1, 1.0, 10.0, 100.0), min_length=1)
    """Of ``lbfgs``: inverse weights of the L2 penalty, of which the one is taken that does best on a fifth of the
    training images."""
    max_steps: int = Field(default=1000, ge=1)
    """Of ``lbfgs``."""
    seed: int = Field(default=0, ge=0)
    """Of draws, first weights and order."""

    def trained(self, given: "Labeled", num_classes: int) -> "Classifier":
        """The classifier that labeled images teach; a pure function of them and the fields."""
        from bdray.evaluation import probe

        if self.protocol == "lbfgs":
            return probe.train_lbfgs(given, strengths=self.strengths, max_steps=self.max_steps, seed=self.seed)[0]
        return probe.train_paper(
            given,
            num_classes,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            seed=self.seed,
        )
