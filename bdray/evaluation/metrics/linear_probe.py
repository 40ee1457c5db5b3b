"""Linear probe: what a linear classifier on the frozen image tower knows, and whether the backdoor is in it."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat

from bdray.data.base import Dataset, Split
from bdray.evaluation.metrics.base import Features, Metric
from bdray.exceptions import DataError
from bdray.registry import component

PREFIX = {"paper": "linear_probe", "lbfgs": "logistic_probe"}
"""Of the names of the numbers, so that both protocols can be measured side by side."""
KINDS = ("clean_accuracy", "attack_success_rate", "attack_success_rate_include_target")


@component
class LinearProbe(Metric):
    """Trains a linear classifier on clean labeled images and judges it like the zero-shot one (CleanerCLIP, Table 2).

    ``clean_accuracy`` is the share of clean images that it classifies rightly, ``attack_success_rate`` the share of
    triggered images that it takes for the target, without those that show the target anyway, and with them
    (``include_target``). Features are not normalized, as in CleanCLIP's public code (src/evaluate.py:228-305), whose
    rate counts no image of the target as a hit, but all images as tries: a third definition, which is not measured.
    """

    type: Literal["linear_probe"] = "linear_probe"
    needs_trigger: ClassVar[bool] = True
    every_epoch: ClassVar[bool] = False
    protocol: Literal["paper", "lbfgs"] = "paper"
    """``paper``: one layer by AdamW, a cosine without warmup. ``lbfgs``: logistic regression, which has neither
    learning rate nor order of batches."""
    split: Literal["finetune", "train"] = "finetune"
    """Split whose labeled images it is trained on: the attacker's training images are in ``train``, clean ones all."""
    num_samples: int | None = Field(default=None, ge=2)
    """Labeled images that it is trained on, drawn at random and equally per class; None: all."""
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

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{PREFIX[self.protocol]}_{kind}" for kind in KINDS)

    @property
    def splits(self) -> tuple[Split, ...]:
        return (self.split,)

    def check(self, data: Dataset, cache: Path) -> None:
        if data.known_captions(self.split, cache) is None:  # labels, too, would take a long preparation
            return
        labels = data.load(self.split, cache).labels
        known = {int(label) for label in labels if label >= 0}
        if len(known) < 2:
            raise DataError(
                f"evaluation.metrics.{self.type}.split: the {self.split} split must have labeled images of at least "
                f"two classes, but has them of {len(known)}. Choose another split or data set, or leave the metric out."
            )

    def measure(self, features: Features) -> dict[str, float]:
        from bdray.evaluation import probe

        if features.material is None or features.clean_lengths is None or features.triggered_lengths is None:
            return {}
        given = features.material.labeled(self.split, self.num_samples, self.seed)
        if self.protocol == "lbfgs":
            classify, _ = probe.train_lbfgs(given, strengths=self.strengths, max_steps=self.max_steps, seed=self.seed)
        else:
            classify = probe.train_paper(
                given,
                len(features.classes),
                epochs=self.epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                seed=self.seed,
            )
        clean = classify(features.clean.float() * features.clean_lengths.float()[:, None])
        triggered = classify(features.triggered.float() * features.triggered_lengths.float()[:, None])
        is_hit, others = triggered == features.target, features.labels != features.target
        shares = (clean == features.labels, is_hit[others], is_hit)
        return {name: share.double().mean().item() for name, share in zip(self.names, shares, strict=True)}
