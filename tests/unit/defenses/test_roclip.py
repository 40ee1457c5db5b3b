"""RoCLIP: which epochs match, and that its bank survives."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bdray.attacks.attack import Attack
from bdray.attacks.poisoned_set import PoisonedSet
from bdray.attacks.triggers.blended import Blended
from bdray.checkpoint import History
from bdray.defenses.base import DefenderData, Sizes
from bdray.defenses.roclip import RoCLIP
from bdray.exceptions import ConfigError
from bdray.testing import tiny_model, tiny_recipe, tiny_scenes, tiny_tokenizer
from bdray.text.eda import Eda
from bdray.training.nearest_text import NearestTextObjective
from bdray.training.session import Session

EPOCHS = 4


class Interruption(BaseException):
    """Stands for the death of the process."""


@pytest.fixture(scope="module")
def data(cache: Path) -> DefenderData:
    train = tiny_scenes().load("train", cache)
    poisoning = Attack(trigger=Blended(), num_poisoned=8).poison(train.captions, seed=0)
    return DefenderData(poisoned=PoisonedSet(train, poisoning, np.arange(len(train))))


def run(data: DefenderData, model: torch.nn.Module, session: Mapping[str, Any] | None = None, **fields: Any) -> History:
    defense = RoCLIP(recipe=tiny_recipe(epochs=EPOCHS), **({"bank_size": 24} | fields))
    return defense.run(model, data, Session(tokenizer=tiny_tokenizer(), seed=0, **(session or {})))


def without_time(history: History) -> History:
    return [{name: value for name, value in entry.items() if name != "train_seconds"} for entry in history]


def weights(**fields: Any) -> dict[str, Tensor]:
    model = tiny_model()
    run(model=model, **fields)
    return dict(model.state_dict())


def test_every_second_epoch_matches(data: DefenderData) -> None:
    history = run(data, tiny_model())
    # The log says which loss an epoch had.
    assert [sorted(name for name in entry if name.endswith("_loss")) for entry in history] == [
        ["clip_loss"],
        ["matched_loss"],
    ] * 2


@pytest.mark.parametrize("after", [1, 2, 3])
def test_it_goes_on_exactly(after: int, data: DefenderData, tmp_path: Path) -> None:
    straight, continued = tiny_model(), tiny_model()
    expected = run(data, straight, {"workspace": tmp_path / "straight"})
    reports: list[Mapping[str, float]] = []

    def die(metrics: Mapping[str, float]) -> None:
        reports.append(metrics)
        if len(reports) == after:
            raise Interruption

    with pytest.raises(Interruption):
        run(data, tiny_model(), {"workspace": tmp_path / "state", "report": die})
    history = run(data, continued, {"workspace": tmp_path / "state"})
    # Whether the bank was empty, filled or waiting when the process died.
    assert all(torch.equal(straight.state_dict()[name], value) for name, value in continued.state_dict().items())
    assert without_time(history) == without_time(expected)
    # The bank itself: two matching epochs of 64 texts went through it.
    first, second = (load_file(tmp_path / name / "train" / "checkpoint.safetensors") for name in ("straight", "state"))
    assert first["objective.count"].item() == 2 * 64
    assert torch.equal(first["objective.bank"], second["objective.bank"])
    assert torch.allclose(first["objective.bank"].norm(dim=1), torch.ones(24))


def test_its_fields_change_the_training(data: DefenderData) -> None:
    # None of them is without effect.
    found = [
        weights(data=data),
        weights(data=data, bank_size=5),
        weights(data=data, break_epoch=3),
        weights(data=data, augmented_epochs="all"),
    ]
    firsts = [tensors["visual.conv1.weight"] for tensors in found]
    assert not any(torch.equal(firsts[i], firsts[j]) for i in range(4) for j in range(i))


def test_images_are_augmented_as_roclip_does(data: DefenderData) -> None:
    given, model, objective = data.poisoned, tiny_model(), NearestTextObjective(24, 16)
    assert given is not None
    Session(tokenizer=tiny_tokenizer(), seed=0).train(
        model,
        objective,
        tiny_recipe(epochs=EPOCHS),
        given.pairs.images,
        given.pairs.captions,
        text_augmentation=Eda(),
        image_augmentation="roclip",
        poisoning=given.poisoning,
    )
    # Its own policy, on triggered images and the attacker's captions.
    expected = weights(data=data)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in expected.items())


def test_it_must_match_at_some_time() -> None:
    defense = RoCLIP(recipe=tiny_recipe(epochs=2), break_epoch=3)
    with pytest.raises(ConfigError, match=r"^defense\.break_epoch: none of 2 epochs is the 3th"):
        defense.check(Sizes(trained=64))
    RoCLIP(recipe=tiny_recipe(epochs=3), break_epoch=3).check(Sizes(trained=64))
