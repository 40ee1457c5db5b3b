"""Scores of a poisoned set as the victim saw it, ranks without chance, and the numbers that judge a detection."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given as for_all
from hypothesis import strategies as st

from bdray.attacks.attack import Attack
from bdray.attacks.poisoned_set import PoisonedSet
from bdray.attacks.poisoning import Poisoning
from bdray.attacks.triggers.badnet import BadNet
from bdray.evaluation import detection
from bdray.evaluation.detection import (
    SIMILARITIES,
    auroc,
    detection_metrics,
    highest,
    lowest,
    poisoned_mask,
    precision,
    recall,
    shown_images,
    similarities,
    write_similarities,
)
from bdray.models.clip import normalize
from bdray.testing import tiny_model, tiny_scenes, tiny_tokenizer

TRIGGER = BadNet(size=6, location="random")


@pytest.fixture(scope="module")
def poisoned(cache: Path) -> PoisonedSet:
    """64 scenes, 8 of them poisoned, at other places in the train split than in the set."""
    train = tiny_scenes().load("train", cache)
    poisoning = Attack(trigger=TRIGGER, num_poisoned=8).poison(train.captions, seed=0)
    return PoisonedSet(train, poisoning, np.arange(1000, 1000 + len(train)))


def tokens_of(poisoned: PoisonedSet) -> torch.Tensor:
    return tiny_tokenizer()(poisoned.poisoning.replace_captions(poisoned.pairs.captions))


def test_images_are_shown_as_the_victim_saw_them(poisoned: PoisonedSet) -> None:
    bad, good = sorted(poisoned.poisoning.captions)[1], min(set(range(64)) - set(poisoned.poisoning.captions))
    clean = torch.from_numpy(poisoned.pairs.images[np.array([bad, good])]).float() / 255
    shown = shown_images(poisoned, torch.tensor([bad, good]))
    # The trigger is the sample's own, wherever it is asked for; clean images are untouched.
    torch.testing.assert_close(shown[0], TRIGGER.apply(clean[:1], torch.tensor([bad]))[0], rtol=0, atol=0)
    assert not torch.equal(shown[0], clean[0])
    assert torch.equal(shown[1], clean[1])


def test_similarities_are_cosines_of_pairs_in_eval_mode(poisoned: PoisonedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = tiny_model(), tokens_of(poisoned)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = similarities(model, poisoned, tokens)
    assert found.shape == (64,)
    assert found.dtype == np.float32
    # Training goes on as if nothing had happened: batch norms have learned nothing from it.
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    # One pair at a time, with the attacker's image and caption.
    model.eval()
    for index in (*sorted(poisoned.poisoning.captions)[:2], 1, 63):
        image = normalize(shown_images(poisoned, torch.tensor([index])))
        features = model.encode_image(image), model.encode_text(tokens[index : index + 1])
        assert found[index] == pytest.approx(torch.cosine_similarity(*features).item(), abs=1e-5)
    # In however many batches, the last one being smaller.
    monkeypatch.setattr(detection, "BATCH", 60)
    np.testing.assert_allclose(similarities(model, poisoned, tokens), found, rtol=0, atol=1e-6)
    assert not model.training


def test_ranks_do_not_depend_on_chance() -> None:
    scores = np.array([0.5, -1.0, 0.5, 0.5, 2.0, -1.0])
    # Among equals the first ones come first, in both directions.
    assert lowest(scores, 3).tolist() == [1, 5, 0]
    assert highest(scores, 3).tolist() == [4, 0, 2]
    # None, all, and no more than there are.
    assert lowest(scores, 0).tolist() == []
    assert lowest(scores, 9).tolist() == [1, 5, 0, 2, 3, 4]
    assert highest(scores, 6).tolist() == [4, 0, 2, 3, 1, 5]


def test_precision_and_recall_by_hand() -> None:
    detected, poisoned = np.array([1, 1, 1, 0, 0], dtype=bool), np.array([1, 0, 0, 1, 0], dtype=bool)
    # One of three detected is poisoned, one of two poisoned is detected.
    assert precision(detected, poisoned) == pytest.approx(1 / 3)
    assert recall(detected, poisoned) == pytest.approx(1 / 2)
    # Nothing detected is not a precision of 0, nothing poisoned no recall of 0.
    nothing = np.zeros(5, dtype=bool)
    assert np.isnan(precision(nothing, poisoned))
    assert recall(nothing, poisoned) == 0
    assert precision(detected, nothing) == 0
    assert np.isnan(recall(detected, nothing))


def test_auroc_by_hand() -> None:
    poisoned = np.array([1, 1, 0, 0], dtype=bool)
    # Of the four pairs of one poisoned and one clean, those in which the poisoned has more; a tie is half a win.
    assert auroc(np.array([0.9, 0.2, 0.5, 0.1]), poisoned) == 3 / 4
    assert auroc(np.array([0.9, 0.5, 0.5, 0.1]), poisoned) == 3.5 / 4
    assert auroc(np.array([3.0, 2.0, 1.0, 0.0]), poisoned) == 1
    assert auroc(np.array([0.0, 1.0, 2.0, 3.0]), poisoned) == 0
    assert auroc(np.zeros(4), poisoned) == 0.5
    # Scores of minus infinity are ties at the end.
    assert auroc(np.array([1.0, -np.inf, 0.5, -np.inf]), poisoned) == 2.5 / 4
    # With one kind there is no order to find.
    assert np.isnan(auroc(np.arange(4.0), np.ones(4, dtype=bool)))
    assert np.isnan(auroc(np.arange(4.0), np.zeros(4, dtype=bool)))


@for_all(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_auroc_is_the_share_of_won_comparisons(pairs: list[tuple[int, bool]]) -> None:
    scores, poisoned = np.array([float(score) for score, _ in pairs]), np.array([kind for _, kind in pairs])
    won = [np.sign(a - b) / 2 + 0.5 for a in scores[poisoned] for b in scores[~poisoned]]
    if won:
        # The definition, comparison by comparison.
        assert auroc(scores, poisoned) == pytest.approx(float(np.mean(won)))
        # Turning the scores round turns it round.
        assert auroc(-scores, poisoned) == pytest.approx(1 - float(np.mean(won)))


def test_metrics_that_are_not_defined_are_left_out(poisoned: PoisonedSet) -> None:
    mask = poisoned_mask(poisoned)
    assert np.flatnonzero(mask).tolist() == sorted(poisoned.poisoning.captions)
    # A perfect detection.
    assert detection_metrics(poisoned, mask, mask.astype(float)) == {
        "detection_precision": 1,
        "detection_recall": 1,
        "detection_auroc": 1,
    }
    # No poison, and nothing found.
    clean = PoisonedSet(poisoned.pairs, Poisoning(trigger=TRIGGER, captions={}), poisoned.samples)
    assert not poisoned_mask(clean).any()
    assert detection_metrics(clean, mask, mask.astype(float)) == {"detection_precision": 0}
    assert detection_metrics(clean, np.zeros(64, dtype=bool), np.zeros(64)) == {}


def test_the_table_holds_every_pair(poisoned: PoisonedSet, tmp_path: Path) -> None:
    scores = np.linspace(-1, 1, 64)
    write_similarities(tmp_path, poisoned, {"is_suspicious": scores < 0, "clean_similarity": scores})
    table = pd.read_csv(tmp_path / SIMILARITIES)
    # Samples are named by their place in the train split; the kinds are read back as such.
    assert list(table) == ["sample", "is_poisoned", "is_suspicious", "clean_similarity"]
    assert table["sample"].tolist() == list(range(1000, 1064))
    assert table["is_poisoned"].dtype == bool
    assert table["is_poisoned"].tolist() == poisoned_mask(poisoned).tolist()
    assert table["is_suspicious"].tolist() == (scores < 0).tolist()
    np.testing.assert_allclose(table["clean_similarity"], scores, rtol=1e-5)
