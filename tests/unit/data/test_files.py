"""The member of the family: what an experiment on files does before, while and after it runs."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdray import config
from bdray.attacks.attack import Attack
from bdray.data.base import SPLITS
from bdray.data.files import Files
from bdray.exceptions import ConfigError, DataError
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages import Context, Evaluate, PoisonVictim, Pretrain
from bdray.pipeline.store import Store
from bdray.testing import tiny_files, tiny_recipe


def experiment(data: Files, **attack: Any) -> Experiment:
    recipe = config.dump(tiny_recipe(epochs=1, batch_size=8))
    tree = {
        "data": config.dump(data),
        "model": {"architecture": "scenes-rn"},
        "pretrain": {"recipe": recipe},
        "attack": {"trigger": {"type": "badnet", "size": 4}, "num_poisoned": 2} | attack,
        "victim": {"recipe": recipe},
        "defense": None,
        "evaluation": {"metrics": [{"type": "clean_accuracy", "top_k": [1]}], "epoch_images": 4},
    }
    return config.build(Experiment, tree, "test")


def test_an_experiment_runs_and_its_manifests_tell_of_the_data(tmp_path: Path) -> None:
    data = tiny_files(tmp_path / "data")
    (tmp_path / "data" / "images" / "8.png").write_bytes(b"broken")
    data = dataclasses.replace(data, train=dataclasses.replace(data.train, max_bad_share=0.5), finetune=None)
    given = experiment(data)
    given.check(tmp_path / "cache")
    data.check_readable()
    context = Context(store=Store(str(tmp_path / "store"), tmp_path / "cache"), cache=tmp_path / "cache")
    victim = PoisonVictim(given)
    found = Evaluate(given, victim).result(context)
    assert 0 <= found["metrics"]["clean_accuracy_top1"] <= 1
    # Whoever reads a result later sees what was left out, and that it was this content.
    prepared = context.store.find("victim", victim.key)
    assert prepared is not None
    train = prepared["prepared_data"]["train"]
    assert train["num_samples"] == 16
    assert len(train["content"]) == 16
    assert set(prepared["prepared_data"]) == {"train", "validation"}
    assert set(found["prepared_data"]) == {"train", "validation", "test"}


def test_labels_are_there_for_supervised_finetuning(tmp_path: Path) -> None:
    data = dataclasses.replace(tiny_files(tmp_path), finetune=None)
    pairs = data.load("finetune", tmp_path / "cache")
    # Equally many of each class, from images that nothing is evaluated on.
    assert np.bincount(pairs.labels).tolist() == [4, 4]
    assert len(pairs) == data.size("finetune") == 8


def test_plans_need_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BDRAY_DATA", str(tmp_path / "nowhere"))
    tree = config.dump(tiny_files(tmp_path / "data"))
    for part in ("train", "finetune"):
        tree[part]["path"] = "pairs.csv"
    tree["task"]["path"] = "ImageNet1K"
    data = config.build(Files, tree, "test")
    given = experiment(data, samples="names_target", captions="unchanged")
    # All checks but those of the files, also of an attack that looks at captions; keys, and the number of images.
    given.check(tmp_path / "cache")
    assert len({Pretrain(given).key, PoisonVictim(given).key}) == 2
    assert [data.size(split) for split in SPLITS] == [16, 16, 4, 8]
    assert list(tmp_path.glob("cache/*")) == []
    # A run is refused at once,
    with pytest.raises(DataError, match=r"data\.train\.path: 'pairs\.csv': there is no file at .*/nowhere/pairs\.csv"):
        data.check_readable()
    # and so is whoever reads without asking.
    with pytest.raises(DataError, match=r"data\.task\.path: 'ImageNet1K/val'"):
        data.load("test", tmp_path / "cache")


def test_an_attack_on_captions_is_judged_when_they_are_known(tmp_path: Path) -> None:
    data = tiny_files(tmp_path)
    given = experiment(data, samples="names_target", captions="unchanged")
    given.check(tmp_path / "cache")
    # No caption names a banana: found out as soon as there are captions, before anything is trained,
    pairs = data.load("train", tmp_path / "cache")
    attack = Attack(**vars(given.attack))
    with pytest.raises(ConfigError, match="no caption of the 16 training samples holds the word 'banana'"):
        attack.poison(pairs.captions, seed=0)
    # and from then on by plans too.
    with pytest.raises(ConfigError, match="no caption of the 16 training samples"):
        given.check(tmp_path / "cache")


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree | {"image_size": 16},
        lambda tree: tree | {"geometry": "squash"},
        lambda tree: tree | {"train": tree["train"] | {"num_samples": 15}},
        lambda tree: tree | {"train": tree["train"] | {"subset_seed": 1}, "finetune": None},
        lambda tree: tree | {"train": tree["train"] | {"skip": 16}, "finetune": None},
    ],
)
def test_whatever_changes_samples_changes_their_key(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    data = tiny_files(tmp_path)
    other = config.build(Files, change(config.dump(data)), "test")
    assert other.fingerprint("train") != data.fingerprint("train")
    first, second = (one.load("train", tmp_path / "cache").images[:] for one in (data, other))
    assert first.shape != second.shape or not np.array_equal(first, second)


def test_the_limit_of_bad_samples_is_no_part_of_the_key(tmp_path: Path) -> None:
    data = tiny_files(tmp_path)
    other = dataclasses.replace(data, train=dataclasses.replace(data.train, max_bad_share=0.01), finetune=None)
    # It decides whether there is a result, and not which one.
    assert other.fingerprint("train") == data.fingerprint("train")
