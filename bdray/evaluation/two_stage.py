"""A detection in two stages, as UBT's: one model finds pairs suspicious, another one ranks these."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bdray.attacks.poisoned_set import PoisonedSet
from bdray.evaluation.detection import Bools, Floats, auroc, detection_metrics, highest, lowest, poisoned_mask, recall


@dataclass(frozen=True)
class TwoStageDetection:
    """Similarities of all N pairs of a poisoned set under three models, and who is found by them."""

    clean: Floats
    """Under a model that nobody poisoned, [N]."""
    victim: Floats
    """Under the victim, [N]; nothing is found by them."""
    overfitted: Floats
    """Under the victim overfitted to what is suspicious, [N]."""
    num_suspicious: int
    """Pairs of lowest similarity under the clean model that are suspicious."""
    num_detected: int
    """Suspicious pairs of highest similarity under the overfitted model that are detected; at most all of them."""

    @property
    def suspicious(self) -> NDArray[np.int64]:
        """Positions of D_susp, the most suspicious first."""
        return lowest(self.clean, self.num_suspicious)

    @property
    def detected(self) -> NDArray[np.int64]:
        """Positions of D_topk, the highest similarity first (UBT, Eq. 2)."""
        return self.suspicious[highest(self.overfitted[self.suspicious], self.num_detected)]

    @property
    def is_suspicious(self) -> Bools:
        """Whether each pair is in D_susp, [N]."""
        return np.isin(np.arange(len(self.clean)), self.suspicious)

    @property
    def is_detected(self) -> Bools:
        """Whether each pair is in D_topk, [N]."""
        return np.isin(np.arange(len(self.clean)), self.detected)

    @property
    def columns(self) -> dict[str, Floats | Bools]:
        """What a table says of every pair."""
        return {
            "is_suspicious": self.is_suspicious,
            "is_detected": self.is_detected,
            "clean_similarity": self.clean,
            "victim_similarity": self.victim,
            "overfitted_similarity": self.overfitted,
        }

    def metrics(self, given: PoisonedSet) -> dict[str, float]:
        """How well poisoned pairs were told from clean ones, as far as that is defined.

        ``detection_auroc`` is of all pairs as they are ranked: D_susp by the overfitted model, the rest below it, all
        alike. ``detection_split_recall`` is the share of poisoned pairs that D_susp holds, which no recall exceeds. The
        others are the AUROC of one model's similarity alone: a low one speaks for poison under the clean model, a high
        one under the other two (UBT, Fig. 2).
        """
        is_poisoned = poisoned_mask(given)
        found = {
            **detection_metrics(given, self.is_detected, np.where(self.is_suspicious, self.overfitted, -np.inf)),
            "detection_split_recall": recall(self.is_suspicious, is_poisoned),
            "detection_clean_auroc": auroc(-self.clean, is_poisoned),
            "detection_victim_auroc": auroc(self.victim, is_poisoned),
            "detection_overfitted_auroc": auroc(self.overfitted, is_poisoned),
        }
        return {name: value for name, value in found.items() if not np.isnan(value)}
