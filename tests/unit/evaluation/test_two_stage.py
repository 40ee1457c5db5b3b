"""A detection in two stages: who is suspicious, who of these is detected, and what that is worth."""

from pathlib import Path

import numpy as np
import pytest

from bdray.attacks.poisoned_set import PoisonedSet
from bdray.attacks.poisoning import Poisoning
from bdray.attacks.triggers.blended import Blended
from bdray.data.base import Pairs
from bdray.evaluation.detection import SIMILARITIES, write_similarities
from bdray.evaluation.two_stage import TwoStageDetection

#            suspicious: x         x    x         x
CLEAN = np.array([0.9, 0.1, 0.8, 0.2, 0.3, 0.7, 0.4, 0.8])
OVERFITTED = np.array([0.99, 0.9, 0.2, 0.8, 0.5, 0.3, 0.8, 0.1])
VICTIM = np.array([0.5, 0.6, 0.5, 0.6, 0.5, 0.5, 0.5, 0.5])
DETECTION = TwoStageDetection(CLEAN, VICTIM, OVERFITTED, num_suspicious=4, num_detected=2)


def given(*poisoned: int) -> PoisonedSet:
    pairs = Pairs(np.zeros((8, 3, 2, 2), np.uint8), ["a"] * 8, np.zeros(8, np.int64))
    return PoisonedSet(pairs, Poisoning(trigger=Blended(), captions=dict.fromkeys(poisoned, "b")), np.arange(8))


def test_the_first_model_suspects_and_the_second_one_ranks() -> None:
    assert DETECTION.suspicious.tolist() == [1, 3, 4, 6]
    # The highest of these, of equals the one that was suspected first; pair 0 is higher but not suspected.
    assert DETECTION.detected.tolist() == [1, 3]
    assert np.flatnonzero(DETECTION.is_suspicious).tolist() == [1, 3, 4, 6]
    assert np.flatnonzero(DETECTION.is_detected).tolist() == [1, 3]


def test_metrics_by_hand() -> None:
    found = DETECTION.metrics(given(0, 1, 6))
    # Of pairs 1 and 3 the first is poisoned, of three poisoned ones one is found and two were suspected.
    assert found["detection_precision"] == 1 / 2
    assert found["detection_recall"] == 1 / 3
    assert found["detection_split_recall"] == 2 / 3
    # Ranked 1 | 3 6 | 4 | all others: pair 1 wins 5 of 5 comparisons with clean pairs, 6 wins 4.5, 0 wins 3 halves.
    assert found["detection_auroc"] == pytest.approx((5 + 4.5 + 1.5) / 15)
    # Clean model, low first: 1 3 4 6 5 | 2 7 | 0. Pair 1 wins 5, 6 wins 3, 0 none.
    assert found["detection_clean_auroc"] == pytest.approx((5 + 3 + 0) / 15)
    # Overfitted model, high first: 0 1 | 3 6 | 4 5 2 7. Pairs 0 and 1 win 5, 6 wins 4.5.
    assert found["detection_overfitted_auroc"] == pytest.approx((5 + 5 + 4.5) / 15)
    # Victim: 1 3 | all others. Pair 1 wins 4.5; 6 and 0 win four halves each.
    assert found["detection_victim_auroc"] == pytest.approx((4.5 + 2 + 2) / 15)


def test_without_poison_only_a_precision_is_left() -> None:
    assert DETECTION.metrics(given()) == {"detection_precision": 0}
    # And with nothing else, no order.
    everything = DETECTION.metrics(given(*range(8)))
    assert everything == {"detection_precision": 1, "detection_recall": 2 / 8, "detection_split_recall": 4 / 8}


def test_all_may_be_suspicious_and_detected() -> None:
    detection = TwoStageDetection(CLEAN, VICTIM, OVERFITTED, num_suspicious=8, num_detected=8)
    assert detection.is_suspicious.all()
    assert detection.is_detected.all()
    # The order is then the second model's alone.
    found = detection.metrics(given(0, 1, 6))
    assert found["detection_auroc"] == found["detection_overfitted_auroc"]


def test_columns_fit_the_table(tmp_path: Path) -> None:
    write_similarities(tmp_path, given(2), DETECTION.columns)
    head, first, *_ = (tmp_path / SIMILARITIES).read_text().splitlines()
    assert head == (
        "sample,is_poisoned,is_suspicious,is_detected,clean_similarity,victim_similarity,overfitted_similarity"
    )
    assert first == "0,False,False,False,0.9,0.5,0.99"
