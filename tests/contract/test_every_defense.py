"""What every defense keeps: it changes the victim as a function of the seed, and continues where it was stopped."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from bdray.attacks.attack import Attack
from bdray.attacks.poisoned_set import PoisonedSet
from bdray.attacks.triggers.blended import Blended
from bdray.checkpoint import History
from bdray.defenses.base import DefenderData, Defense
from bdray.defenses.supervised import Supervised
from bdray.testing import example, tiny_model, tiny_scenes, tiny_tokenizer
from bdray.training.session import Session

MEMBERS = [pytest.param(member, id=name) for name, member in Defense.members().items()]
every_defense = pytest.mark.parametrize("member", MEMBERS)


class Interruption(BaseException):
    """Stands for the death of the process."""


def run(
    member: type[Defense],
    data: DefenderData,
    model: open_clip.CLIP,
    workspace: Path | None = None,
    report: Callable[[Mapping[str, float]], None] = lambda metrics: None,
) -> History:
    defense = example(member)
    assert isinstance(defense, Defense)
    session = Session(
        tokenizer=tiny_tokenizer(),
        seed=0,
        report=report,
        evaluate=lambda model, head: {"clean_accuracy_top1": 0.5},
        workspace=workspace,
    )
    return defense.run(model, data, session)


def without_time(history: History) -> History:
    return [{name: value for name, value in entry.items() if name != "train_seconds"} for entry in history]


@pytest.fixture(scope="module")
def data(cache: Path) -> DefenderData:
    """All that any defense may ask for."""
    train = tiny_scenes().load("train", cache)
    poisoning = Attack(trigger=Blended(), num_poisoned=8).poison(train.captions, seed=0)
    return DefenderData(
        clean=tiny_scenes().load("finetune", cache),
        num_classes=len(tiny_scenes().class_names()),
        poisoned=PoisonedSet(train, poisoning, np.arange(len(train))),
        clean_model=lambda: tiny_model(seed=1).eval().requires_grad_(False),
    )


@every_defense
def test_it_changes_the_victim_and_reports(member: type[Defense], data: DefenderData) -> None:
    model, victim = tiny_model(), tiny_model()
    reports: list[Mapping[str, float]] = []
    assert data.clean is not None
    assert data.poisoned is not None
    sets = (data.clean, data.poisoned.pairs)
    images = [pairs.images[:].copy() for pairs in sets]
    history = run(member, data, model, report=reports.append)
    # Weights of both towers move, or of one where the text has no use, and stay numbers; evaluation may begin.
    before = victim.state_dict()
    assert not torch.equal(model.state_dict()["visual.conv1.weight"], before["visual.conv1.weight"])
    trains_text = not torch.equal(model.state_dict()["token_embedding.weight"], before["token_embedding.weight"])
    assert trains_text != (member is Supervised)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert not model.training
    # Every epoch is reported as it ends, with its number, its loss and the session's evaluation.
    assert reports == history
    assert len(history) > 0
    assert all({"epoch", "loss", "clean_accuracy_top1"} <= set(entry) for entry in history)
    # What it will measure of itself is known beforehand, and in the end all of it is there.
    assert {name for name in history[-1] if name.startswith("detection_")} == set(member.detection_names)
    # The defender's data stay as they were.
    assert all((pairs.images[:] == before).all() for pairs, before in zip(sets, images, strict=True))


@every_defense
def test_it_is_a_function_of_victim_data_and_seed(member: type[Defense], data: DefenderData) -> None:
    first, second = tiny_model(), tiny_model()
    torch.manual_seed(1)
    expected = run(member, data, first)
    torch.manual_seed(2)
    # Twice the same model and the same numbers, wherever the global generator is.
    assert without_time(run(member, data, second)) == without_time(expected)
    assert all(torch.equal(first.state_dict()[name], value) for name, value in second.state_dict().items())


@every_defense
def test_interrupted_it_goes_on_exactly(member: type[Defense], data: DefenderData, tmp_path: Path) -> None:
    straight, continued = tiny_model(), tiny_model()
    expected = run(member, data, straight)

    def die(metrics: Mapping[str, float]) -> None:
        raise Interruption

    # The process dies when it has reported its first epoch; a new one starts from the victim again.
    with pytest.raises(Interruption):
        run(member, data, tiny_model(), tmp_path, report=die)
    history = run(member, data, continued, tmp_path)
    # Bit-identical weights, and one history.
    assert all(torch.equal(straight.state_dict()[name], value) for name, value in continued.state_dict().items())
    assert without_time(history) == without_time(expected)
