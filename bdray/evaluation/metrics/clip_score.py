"""CLIPScore: how similar images and captions are that a victim was trained on."""

from typing import ClassVar, Literal

from pydantic import Field

from bdray.evaluation.metrics.base import Features, Metric
from bdray.registry import component


@component
class ClipScore(Metric):
    """Mean cosine of image and caption over all poisoned pairs of the training set, and over random clean ones.

    After every epoch it is the training dynamics of CleanCLIP's Fig. 7: a backdoor is learned before the rest. Pairs
    are as the victim saw them, without its augmentations; the same clean ones are taken for every model.
    """

    type: Literal["clip_score"] = "clip_score"
    needs_trigger: ClassVar[bool] = True
    reads_poisoned: ClassVar[bool] = True
    num_clean: int = Field(default=10_000, ge=1)
    """Clean pairs that are averaged over, drawn at random; the paper's 10,000."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("clip_score_clean", "clip_score_poisoned")

    def pairs_read(self, trained: int, poisoned: int) -> int:
        return poisoned + min(self.num_clean, trained - poisoned)

    def measure(self, features: Features) -> dict[str, float]:
        import numpy as np

        material = features.material
        if material is None or material.poisoned is None:
            return {}
        poisoned, clean = np.flatnonzero(material.is_poisoned), np.flatnonzero(~material.is_poisoned)
        some = np.random.default_rng(0xC115).permutation(clean)[: self.num_clean]
        return {
            name: float(material.similarities(positions).mean(dtype=np.float64)) if len(positions) else float("nan")
            for name, positions in zip(self.names, (some, poisoned), strict=True)
        }
