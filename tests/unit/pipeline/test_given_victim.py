"""A victim that was trained elsewhere: it is taken as it is, and defended; what nobody can know is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bdray import config
from bdray.exceptions import CheckpointError, ConfigError
from bdray.models import weights
from bdray.models.clip import Model
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages import Context, Defend, Evaluate, PoisonVictim, TakeVictim, poisoned_set, victim_of
from bdray.pipeline.store import Store
from bdray.pipeline.victims.base import Victim

Make = Callable[..., Experiment]
UBT = {
    "type": "ubt",
    "suspicious_share": 0.25,
    "num_detected": 8,
    "recipe": {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3},
    "overfit_recipe": {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3},
}


@pytest.fixture
def downloaded(tmp_path: Path) -> Path:
    """A checkpoint as CleanCLIP's public code writes it."""
    path = tmp_path / "epoch_64.pt"
    state = Model(architecture="scenes-rn8").build(seed=5).state_dict()
    torch.save({"epoch": 64, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    return path


@pytest.fixture
def context(tmp_path: Path, cache: Path) -> Context:
    return Context(Store(str(tmp_path / "store"), cache), cache)


def given(make: Make, path: Path, changes: dict[str, Any] | None = None, **fields: Any) -> Experiment:
    victim = {"type": "given", "weights": str(path), **fields}
    tree = config.dump(make({"pretrain": None, **(changes or {})}))
    return config.build(Experiment, {**tree, "victim": victim}, "test")


def test_it_is_taken_and_defended(make: Make, downloaded: Path, context: Context) -> None:
    experiment = given(make, downloaded)
    experiment.check(context.cache)
    defend, victim = Defend(experiment), victim_of(experiment)
    manifest = defend.result(context)
    # The victim is the file's model, to the bit, and nothing was trained for it.
    taken = weights.load(victim.weights(context))
    expected = Model(architecture="scenes-rn8").build(seed=5).state_dict()
    assert all(torch.equal(taken[name], value) for name, value in expected.items())
    found = context.store.find("victim", victim.key)
    assert found is not None
    assert found["history"] == []
    assert found["given"]["path"] == str(downloaded)
    # The defense started from it, and both are judged.
    assert manifest["inputs"] == {"victim": victim.key}
    assert len(manifest["history"]) == 1
    for stage in (victim, defend):
        assert "attack_success_rate_top1" in Evaluate(experiment, stage).result(context)["metrics"]


def test_its_key_is_that_of_its_file(make: Make, downloaded: Path, tmp_path: Path) -> None:
    key = victim_of(given(make, downloaded)).key
    # One victim for all seeds, attacks and names of the file.
    copy = downloaded.rename(tmp_path / "copy.pt")
    assert victim_of(given(make, copy, {"seed": 1, "attack.target": "house"})).key == key
    # The defenses differ: the seed is theirs, and their epochs are judged by the attack.
    keys = {Defend(given(make, copy, changes)).key for changes in ({}, {"seed": 1}, {"attack.target": "house"})}
    assert len(keys) == 3
    # Another file is another victim.
    weights.save(Model(architecture="scenes-rn8").build(seed=6).state_dict(), copy)
    assert victim_of(given(make, copy)).key != key


def test_defenses_that_read_the_poisoned_set_need_it_described(
    make: Make, downloaded: Path, context: Context, tmp_path: Path
) -> None:
    base = tmp_path / "base.safetensors"
    weights.save(Model(architecture="scenes-rn8").build(seed=7).state_dict(), base)
    changes = {"defense": UBT, "model.weights": str(base)}
    with pytest.raises(
        ConfigError, match=r"^victim.poisoned_set: the defense ubt reads what the victim was trained on"
    ):
        given(make, downloaded, changes).check(context.cache)
    # Where the attack describes it, the defense has it: 8 of these 48.
    experiment = given(make, downloaded, changes, poisoned_set="attack", num_samples=48)
    experiment.check(context.cache)
    assert len(poisoned_set(experiment, context).pairs) == 48
    assert "detection_recall" in Defend(experiment).result(context)["metrics"]
    # Another number of poisons is another set for the defense, and the same victim.
    other = given(make, downloaded, {**changes, "attack.num_poisoned": 9}, poisoned_set="attack", num_samples=48)
    assert Defend(other).key != Defend(experiment).key
    assert victim_of(other).key == victim_of(experiment).key


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"defense": {"type": "abl", "suspicious_share": 0.1, "recipe": UBT["recipe"]}}, "defense abl"),
        ({"defense.clean_data": "train_unpoisoned"}, "defense cleanclip with clean_data=train_unpoisoned"),
    ],
)
def test_what_nobody_knows_is_refused(
    make: Make, downloaded: Path, changes: dict[str, Any], name: str, cache: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"^victim.poisoned_set: the {name} reads .* victim.poisoned_set=attack"):
        given(make, downloaded, changes).check(cache)


def test_clean_originals_of_the_training_split_are_no_secret(make: Make, downloaded: Path, context: Context) -> None:
    experiment = given(make, downloaded, {"defense.clean_data": "train"})
    experiment.check(context.cache)
    # Whether poisoned ones are among them is not known, so nothing is said about it.
    assert Defend(experiment).result(context)["clean_data"] == {"num_samples": 64}


def test_a_victim_of_another_architecture_is_refused(make: Make, downloaded: Path, cache: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"^{downloaded}: does not fit the model"):
        given(make, downloaded, {"model.architecture": "scenes-rn"}).check(cache)


def test_a_study_may_name_it_on_the_command_line() -> None:
    tree = {"victim": {"recipe": {"epochs": 3}, "num_samples": 48}}
    words = config.read_overrides(["victim.type=given", "victim.weights=a.pt"])
    # The recipe means nothing to a victim that is not trained; which samples it saw still does.
    assert config.merge(tree, words, Experiment) == {"victim": {"type": "given", "weights": "a.pt", "num_samples": 48}}
    # A victim of no type is one that is trained, so that its fields can be changed one by one.
    longer = config.merge(tree, {"victim": {"type": "trained", "recipe": {"epochs": 4}}}, Experiment)
    assert longer["victim"] == {"type": "trained", "recipe": {"epochs": 4}, "num_samples": 48}


def test_mistakes_are_named(make: Make) -> None:
    for victim, message in (
        ({"type": "givn", "weights": "a.pt"}, "test: victim.type: unknown type 'givn'. Did you mean 'given'?"),
        ({"weights": "a.pt"}, "victim.weights: unknown field."),
        ({"type": "given"}, "test: victim.weights: is required, but missing."),
        ({"recipe": {"epochs": 1, "batch_size": 2}}, "test: victim.recipe.learning_rate: is required, but missing."),
    ):
        with pytest.raises(ConfigError) as error:
            config.build(Experiment, {**config.dump(make()), "victim": victim}, "test")
        assert message in str(error.value)


def test_a_trained_victim_has_the_key_it_always_had(make: Make) -> None:
    named, unnamed = make({"victim.type": "trained"}), make()
    # The type that every victim once was is left out of keys, or everything in all stores would be computed again.
    assert victim_of(named).key == victim_of(unnamed).key == PoisonVictim(unnamed).key == "9c89f59273f8c27c"
    assert not isinstance(victim_of(unnamed), TakeVictim)
    assert set(Victim.members()) == {"given", "trained"}
