"""What every defense keeps: it changes the victim as a function of the seed, and continues where it was stopped."""

from collections.abc import Callable, Mapping
from pathlib import Path

import open_clip
import pytest
import torch

from bdray.checkpoint import History
from bdray.data.base import Pairs
from bdray.defenses.base import Defense
from bdray.testing import example, tiny_model, tiny_scenes, tiny_tokenizer
from bdray.training.session import Session

MEMBERS = [pytest.param(member, id=name) for name, member in Defense.members().items()]
every_defense = pytest.mark.parametrize("member", MEMBERS)


class Interruption(BaseException):
    """Stands for the death of the process."""


def run(
    member: type[Defense],
    pairs: Pairs,
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
        evaluate=lambda model: {"clean_accuracy_top1": 0.5},
        workspace=workspace,
    )
    return defense.run(model, pairs, session)


def without_time(history: History) -> History:
    return [{name: value for name, value in entry.items() if name != "train_seconds"} for entry in history]


@pytest.fixture(scope="module")
def pairs(cache: Path) -> Pairs:
    """The defender's clean pairs."""
    return tiny_scenes().load("finetune", cache)


@every_defense
def test_it_changes_the_victim_and_reports(member: type[Defense], pairs: Pairs) -> None:
    model, victim = tiny_model(), tiny_model()
    reports: list[Mapping[str, float]] = []
    images = pairs.images.copy()
    history = run(member, pairs, model, report=reports.append)
    # Weights of both towers move and stay numbers; the model is ready for evaluation.
    before = victim.state_dict()
    for name in ("visual.conv1.weight", "token_embedding.weight"):
        assert not torch.equal(model.state_dict()[name], before[name])
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert not model.training
    # Every epoch is reported as it ends, with its number, its loss and the session's evaluation.
    assert reports == history
    assert len(history) > 0
    assert all({"epoch", "loss", "clean_accuracy_top1"} <= set(entry) for entry in history)
    # The defender's data stay as they were.
    assert (pairs.images == images).all()


@every_defense
def test_it_is_a_function_of_victim_data_and_seed(member: type[Defense], pairs: Pairs) -> None:
    first, second = tiny_model(), tiny_model()
    torch.manual_seed(1)
    expected = run(member, pairs, first)
    torch.manual_seed(2)
    # Twice the same model and the same numbers, wherever the global generator is.
    assert without_time(run(member, pairs, second)) == without_time(expected)
    assert all(torch.equal(first.state_dict()[name], value) for name, value in second.state_dict().items())


@every_defense
def test_interrupted_it_goes_on_exactly(member: type[Defense], pairs: Pairs, tmp_path: Path) -> None:
    straight, continued = tiny_model(), tiny_model()
    expected = run(member, pairs, straight)

    def die(metrics: Mapping[str, float]) -> None:
        raise Interruption

    # The process dies when it has reported its first epoch; a new one starts from the victim again.
    with pytest.raises(Interruption):
        run(member, pairs, tiny_model(), tmp_path, report=die)
    history = run(member, pairs, continued, tmp_path)
    # Bit-identical weights, and one history.
    assert all(torch.equal(straight.state_dict()[name], value) for name, value in continued.state_dict().items())
    assert without_time(history) == without_time(expected)
