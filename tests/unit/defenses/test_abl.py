"""ABL: who is suspected, what is reported of it, and that training goes on exactly."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bdray.attacks.attack import Attack
from bdray.attacks.poisoned_set import PoisonedSet
from bdray.attacks.triggers.blended import Blended
from bdray.checkpoint import History
from bdray.config import build
from bdray.defenses.abl import ABL
from bdray.defenses.base import DefenderData, Sizes
from bdray.evaluation.detection import similarities
from bdray.exceptions import ConfigError
from bdray.objective import ContrastiveObjective
from bdray.testing import tiny_model, tiny_recipe, tiny_scenes, tiny_tokenizer
from bdray.training.session import Session

EPOCHS, SUSPICIOUS = 3, 10


class Interruption(BaseException):
    """Stands for the death of the process."""


@pytest.fixture(scope="module")
def data(cache: Path) -> DefenderData:
    """64 scenes, 8 of them poisoned, at other places in the train split than in the set."""
    train = tiny_scenes().load("train", cache)
    poisoning = Attack(trigger=Blended(), num_poisoned=8).poison(train.captions, seed=0)
    return DefenderData(
        poisoned=PoisonedSet(train, poisoning, np.arange(1000, 1000 + len(train))),
        clean_model=lambda: tiny_model(seed=1).eval().requires_grad_(False),
    )


def defense(**fields: Any) -> ABL:
    return ABL(recipe=tiny_recipe(epochs=EPOCHS), **({"num_suspicious": SUSPICIOUS} | fields))


def itself(**fields: Any) -> ABL:
    return defense(detection="self", detection_epoch=2, **fields)


def session(folder: Path | None = None, **fields: Any) -> Session:
    return Session(tokenizer=tiny_tokenizer(), seed=0, folder=folder, **fields)


def without_time(history: History) -> History:
    return [{name: value for name, value in entry.items() if name != "train_seconds"} for entry in history]


def check_detection(table: pd.DataFrame, suspicion: "pd.Series[float]", entry: Mapping[str, float]) -> None:
    """The file and the numbers of an epoch agree."""
    hits = int((table.is_poisoned & table.is_suspicious).sum())
    assert entry["detection_true_positives"] == hits
    assert entry["detection_precision"] == pytest.approx(hits / SUSPICIOUS)
    assert entry["detection_recall"] == pytest.approx(hits / 8)
    # Of all pairs of a poisoned and a clean sample, the share in which the poisoned one is more suspicious.
    poisoned, clean = (suspicion[table.is_poisoned == is_poisoned].to_numpy() for is_poisoned in (True, False))
    assert entry["detection_auroc"] == pytest.approx(float((poisoned[:, None] > clean).mean()), abs=0.01)


def test_the_pairs_that_a_clean_model_finds_least_alike_are_suspected(data: DefenderData, tmp_path: Path) -> None:
    given = data.poisoned
    assert given is not None
    history = defense().run(tiny_model(), data, session(tmp_path))
    table = pd.read_csv(tmp_path / "similarities.csv")
    # Every pair, by its place in the train split, with its poison.
    assert list(table.columns) == ["sample", "is_poisoned", "is_suspicious", "clean_similarity"]
    assert table["sample"].tolist() == given.samples.tolist()
    assert np.flatnonzero(table.is_poisoned).tolist() == sorted(given.poisoning.captions)
    # Scores are those of the clean model on triggered images and the attacker's captions; the lowest are suspicious.
    tokens = tiny_tokenizer()(given.poisoning.replace_captions(given.pairs.captions))
    expected = similarities(tiny_model(seed=1), given, tokens)
    np.testing.assert_allclose(table.clean_similarity, expected, atol=1e-5)
    assert np.flatnonzero(table.is_suspicious).tolist() == sorted(np.argsort(expected)[:SUSPICIOUS].tolist())
    # From the first epoch to the last, the one that results.csv reads.
    for entry in history:
        check_detection(table, -table.clean_similarity, entry)


def test_by_itself_it_trains_plainly_and_then_suspects_what_it_learned_best(data: DefenderData, tmp_path: Path) -> None:
    given, plain = data.poisoned, tiny_model()
    assert given is not None
    history = itself(num_suspicious=SUSPICIOUS).run(tiny_model(), DefenderData(poisoned=given), session(tmp_path))
    table = pd.read_csv(tmp_path / "similarities.csv")
    # Two epochs of L_CLIP on everything, as the victim has, with the learning rate of all three.
    seen: list[np.ndarray[Any, Any]] = []
    tokens = tiny_tokenizer()(given.poisoning.replace_captions(given.pairs.captions))
    expected = session(evaluate=lambda *_: seen.append(similarities(plain, given, tokens)) or {}).train(  # type: ignore[func-returns-value]
        plain,
        ContrastiveObjective(),
        tiny_recipe(epochs=EPOCHS),
        given.pairs.images,
        given.pairs.captions,
        poisoning=given.poisoning,
    )
    for found, entry in zip(history[:2], expected[:2], strict=True):
        assert found["clip_loss"] == found["loss"] == pytest.approx(entry["clip_loss"], rel=1e-6)
        assert found["unlearning_loss"] == 0
        assert not any(name.startswith("detection") for name in found)
    # Then those that fit best under the model after two epochs are suspected, and unlearned.
    assert list(table.columns) == ["sample", "is_poisoned", "is_suspicious", "similarity"]
    np.testing.assert_allclose(table.similarity, seen[1], atol=1e-5)
    assert np.flatnonzero(table.is_suspicious).tolist() == sorted(np.argsort(-seen[1])[:SUSPICIOUS].tolist())
    assert history[2]["unlearning_loss"] > 0
    check_detection(table, table.similarity, history[2])


@pytest.mark.parametrize("make", [defense, itself])
@pytest.mark.parametrize("after", [1, 2])
def test_it_goes_on_exactly(make: Callable[[], ABL], after: int, data: DefenderData, tmp_path: Path) -> None:
    straight, continued, folders = tiny_model(), tiny_model(), (tmp_path / "straight", tmp_path / "continued")
    for folder in folders:
        folder.mkdir()
    expected = make().run(straight, data, session(folders[0]))
    reports: list[Mapping[str, float]] = []

    def die(metrics: Mapping[str, float]) -> None:
        reports.append(metrics)
        if len(reports) == after:
            raise Interruption

    with pytest.raises(Interruption):
        make().run(tiny_model(), data, session(workspace=tmp_path / "state", report=die))
    history = make().run(continued, data, session(folders[1], workspace=tmp_path / "state"))
    # Before the detection or after it: the same weights, numbers and suspects, though the model that suspected them
    # is long gone.
    assert all(torch.equal(straight.state_dict()[name], value) for name, value in continued.state_dict().items())
    assert without_time(history) == without_time(expected)
    files = [(folder / "similarities.csv").read_text() for folder in folders]
    assert files[0] == files[1]


def test_only_detection_by_a_clean_model_needs_one() -> None:
    assert defense().needs_clean_model
    assert not itself().needs_clean_model


def test_k_is_a_count_or_a_share() -> None:
    # By default the paper's 10,000 of 3M.
    assert ABL(recipe=tiny_recipe()).count(3_000_000) == 10_000
    assert ABL(recipe=tiny_recipe()).count(5000) == 17
    assert ABL(recipe=tiny_recipe()).count(64) == 1
    assert ABL(recipe=tiny_recipe(), suspicious_share=0.1).count(5000) == 500
    assert ABL(recipe=tiny_recipe(), num_suspicious=7).count(5000) == 7


def test_something_must_be_left_to_learn_from() -> None:
    defense(num_suspicious=63).check(Sizes(trained=64))
    with pytest.raises(ConfigError, match=r"^defense\.num_suspicious: 64 of 64 .* Choose at most 63 of them\.$"):
        defense(num_suspicious=64).check(Sizes(trained=64))
    # The field that was given is named.
    with pytest.raises(ConfigError, match=r"^defense\.suspicious_share: 64 of 64 "):
        defense(num_suspicious=None, suspicious_share=0.999).check(Sizes(trained=64))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_suspicious": 3, "suspicious_share": 0.1}, "at most one of num_suspicious and suspicious_share"),
        ({"detection": "self"}, "give detection_epoch with detection=self, and only then"),
        ({"detection_epoch": 1}, "give detection_epoch with detection=self, and only then"),
        ({"detection": "self", "detection_epoch": 2}, "detection_epoch=2 leaves none of the 2 epochs"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, Any], message: str) -> None:
    tree = {"type": "abl", "recipe": {"epochs": 2, "batch_size": 2, "learning_rate": 1}}
    with pytest.raises(ConfigError, match=message):
        build(ABL, tree | fields, "x")
