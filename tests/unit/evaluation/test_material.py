"""What metrics ask a model for: labeled features, captions' features, and similarities of the poisoned set."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdray.evaluation.detection import similarities
from bdray.evaluation.material import Material, drawn
from bdray.evaluation.metrics.base import Features
from bdray.evaluation.metrics.clip_score import ClipScore
from bdray.evaluation.metrics.poison_detection import PoisonDetection
from bdray.models.clip import normalize
from bdray.testing import tiny_material


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-1, 3), min_size=1, max_size=40), st.integers(1, 40), st.integers(0, 5))
def test_a_draw_is_as_equal_per_class_as_it_can_be(labels: list[int], count: int, seed: int) -> None:
    given = np.array(labels)
    chosen = drawn(given, count, seed)
    taken = given[chosen]
    # Distinct labeled samples, as many as were asked for or there are.
    assert len(set(chosen.tolist())) == len(chosen) == min(count, int((given >= 0).sum()))
    assert (taken >= 0).all()
    # No class has two more than another one that had samples left.
    for label in range(4):
        left = int((given == label).sum() - (taken == label).sum())
        assert not left or all((taken == other).sum() <= (taken == label).sum() + 1 for other in range(4))
    assert np.array_equal(drawn(given, count, seed), chosen)


def test_labeled_features_are_the_models_own() -> None:
    material = tiny_material()
    found = material.labeled("finetune", 10, seed=0)
    pairs = material.sources.load("finetune")
    chosen = drawn(pairs.labels, 10, 0)
    with torch.no_grad():
        expected = material.model.encode_image(normalize(torch.tensor(np.array(pairs.images[chosen])).float() / 255))
    # Not normalized, in the order of the labels.
    torch.testing.assert_close(found.features, expected, rtol=0, atol=1e-5)
    assert found.labels.tolist() == pairs.labels[chosen].tolist()
    # A probe can be trained on them.
    weight = torch.zeros(expected.shape[1], requires_grad=True)
    (found.features @ weight).sum().backward()


def test_similarities_are_those_of_the_defenses() -> None:
    material = tiny_material()
    given = material.poisoned
    assert given is not None
    tokens = material.tokenizer(given.poisoning.replace_captions(given.pairs.captions))
    expected = similarities(material.model, given, tokens)
    asked = np.array([5, 3, 63, 5])
    # In any order and twice, triggered images with their poisoned captions among them.
    assert material.similarities(asked) == pytest.approx(expected[asked], abs=1e-5)
    assert material.similarities(np.arange(64)) == pytest.approx(expected, abs=1e-5)
    numbers = ClipScore().measure(_only(material))
    assert numbers["clip_score_poisoned"] == pytest.approx(expected[material.is_poisoned].mean(), abs=1e-5)
    assert numbers["clip_score_clean"] == pytest.approx(expected[~material.is_poisoned].mean(), abs=1e-5)


def test_each_pair_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    material, rows = tiny_material(), 0
    encode = material.model.encode_text

    def counted(text: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        nonlocal rows
        rows += len(text)
        found: torch.Tensor = encode(text, normalize=normalize)
        return found

    monkeypatch.setattr(material.model, "encode_text", counted)
    ClipScore(num_clean=10).measure(_only(material))
    assert rows == 18
    PoisonDetection().measure(_only(material))
    # Eight poisoned pairs and ten clean ones were known already.
    assert rows == 64


def test_detection_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    material = tiny_material()
    is_poisoned = material.is_poisoned
    assert is_poisoned.sum() == 8
    # Six poisons lead, then sixteen clean pairs, then two poisons, then the rest.
    order = [*np.flatnonzero(is_poisoned)[:6], *np.flatnonzero(~is_poisoned)[:16], *np.flatnonzero(is_poisoned)[6:]]
    scores = np.zeros(64, np.float32)
    scores[order] = np.linspace(0.9, 0.1, len(order))
    material._scores[:] = scores
    found = PoisonDetection(top_shares=(0.125,), top_counts=(24, 1000)).measure(_only(material))
    assert found["poison_detection_true_positives_top_12_5_percent"] == 6
    assert found["poison_detection_precision_top_12_5_percent"] == 6 / 8
    assert found["poison_detection_recall_top_12_5_percent"] == 6 / 8
    assert found["poison_detection_true_positives_top_24"] == 8
    assert found["poison_detection_precision_top_24"] == pytest.approx(1 / 3)
    # More than there are is all of them.
    assert found["poison_detection_precision_top_1000"] == 8 / 64
    # Of 8 x 56 pairs of pairs the two late poisons lose to sixteen each.
    assert found["poison_detection_auroc"] == pytest.approx(1 - 32 / 448)
    low = PoisonDetection(suspects="low").measure(_only(material))
    assert low["poison_detection_auroc"] == pytest.approx(32 / 448)


def _only(material: Material) -> Features:

    rows = torch.eye(2)
    return Features(rows, rows, rows, torch.arange(2), 0, material=material)
