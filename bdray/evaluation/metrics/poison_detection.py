"""Poison detection: whether the model's own similarities give away what it was poisoned with."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from bdray.evaluation.metrics.base import Features, Metric
from bdray.registry import component

Share = Annotated[float, Field(gt=0, le=1)]


@component
class PoisonDetection(Metric):
    """Takes the training pairs of the highest similarity for poisoned, and counts how many are (CleanCLIP, Fig. 8).

    After every epoch it is the curve of that figure, which finds that no epoch is a good one for all attacks.
    ``_true_positives`` are poisoned pairs among the k that were taken, ``_precision`` their share of these k,
    ``_recall`` their share of all poisoned pairs; ``poison_detection_auroc`` does without a k. It is a forward pass
    over the whole training set for every epoch.
    """

    type: Literal["poison_detection"] = "poison_detection"
    needs_trigger: ClassVar[bool] = True
    reads_poisoned: ClassVar[bool] = True
    top_shares: tuple[Share, ...] = (0.01, 0.1)
    """How many pairs are taken, as shares of the training set, rounded; the paper's is 0.1."""
    top_counts: tuple[PositiveInt, ...] = ()
    """How many pairs are taken, as numbers; at most all."""
    suspects: Literal["high", "low"] = "high"
    """Which similarities are suspicious: high ones where the model learned the poison, low ones where it did not."""

    @property
    def names(self) -> tuple[str, ...]:
        found = [f"poison_detection_{kind}_{top}" for top in self._tops(1) for kind in KINDS]
        return (*found, "poison_detection_auroc")

    def _tops(self, count: int) -> dict[str, int]:
        """Pairs that are taken of ``count``, by the end of the names: ``top_10_percent``, ``top_500``."""
        shares = {f"top_{100 * share:g}_percent".replace(".", "_"): round(share * count) for share in self.top_shares}
        return shares | {f"top_{top}": min(top, count) for top in self.top_counts}

    def measure(self, features: Features) -> dict[str, float]:
        import numpy as np

        from bdray.evaluation.detection import auroc, highest

        material = features.material
        if material is None or material.poisoned is None:
            return {}
        is_poisoned = material.is_poisoned
        scores = material.similarities(np.arange(len(is_poisoned)))
        suspicion = scores if self.suspects == "high" else -scores
        order, numbers = highest(suspicion, len(scores)), []
        for count in self._tops(len(scores)).values():
            hits = int(is_poisoned[order[:count]].sum())
            numbers += [float(hits), _ratio(hits, count), _ratio(hits, int(is_poisoned.sum()))]
        return dict(zip(self.names, [*numbers, auroc(suspicion, is_poisoned)], strict=True))


KINDS = ("true_positives", "precision", "recall")


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
