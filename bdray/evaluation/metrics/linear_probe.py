"""Linear probe: what a linear classifier on the frozen image tower knows, and whether the backdoor is in it."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from bdray.data.base import Dataset, Split
from bdray.evaluation.metrics.base import Features
from bdray.evaluation.metrics.probing import Probing
from bdray.exceptions import DataError
from bdray.registry import component

PREFIX = {"paper": "linear_probe", "lbfgs": "logistic_probe"}
"""Of the names of the numbers, so that both protocols can be measured side by side."""
KINDS = ("clean_accuracy", "attack_success_rate", "attack_success_rate_include_target")


@component
class LinearProbe(Probing):
    """Trains a linear classifier on clean labeled images and judges it like the zero-shot one (CleanerCLIP, Table 2).

    ``clean_accuracy`` is the share of clean images that it classifies rightly, ``attack_success_rate`` the share of
    triggered images that it takes for the target, without those that show the target anyway, and with them
    (``include_target``). Features are not normalized, as in CleanCLIP's public code (src/evaluate.py:228-305), whose
    rate counts no image of the target as a hit, but all images as tries: a third definition, which is not measured.
    """

    type: Literal["linear_probe"] = "linear_probe"
    needs_trigger: ClassVar[bool] = True
    split: Literal["finetune", "train"] = "finetune"
    """Split whose labeled images it is trained on: the attacker's training images are in ``train``, clean ones all."""
    num_samples: int | None = Field(default=None, ge=2)
    """Labeled images that it is trained on, drawn at random and equally per class; None: all."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{PREFIX[self.protocol]}_{kind}" for kind in KINDS)

    @property
    def splits(self) -> tuple[Split, ...]:
        return (self.split,)

    def images_read(self, data: Dataset) -> int:
        available = data.size(self.split)
        return min(self.num_samples or available, available)

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
        if features.material is None or features.clean_lengths is None or features.triggered_lengths is None:
            return {}
        given = features.material.labeled(self.split, self.num_samples, self.seed)
        classify = self.trained(given, len(features.classes))
        clean = classify(features.clean.float() * features.clean_lengths.float()[:, None])
        triggered = classify(features.triggered.float() * features.triggered_lengths.float()[:, None])
        is_hit, others = triggered == features.target, features.labels != features.target
        shares = (clean == features.labels, is_hit[others], is_hit)
        return {name: share.double().mean().item() for name, share in zip(self.names, shares, strict=True)}
