"""Combinations that no single field can judge are refused before anything is computed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bdray.exceptions import BdrayError, CheckpointError, ConfigError
from bdray.models import weights
from bdray.models.clip import Model
from bdray.pipeline.experiment import Experiment

Make = Callable[..., Experiment]

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"victim.num_samples": 65}, "victim.num_samples: 65 samples were asked for, but the train split has 64."),
    ({"defense.num_samples": 65}, "defense.num_samples: 65 samples were asked for, but the finetune split has 64."),
    (
        {"pretrain.recipe.batch_size": 65},
        "pretrain.recipe.batch_size: a batch of 65 cannot be drawn from 64 samples. Lower it, or take more samples.",
    ),
    (
        {"victim.num_samples": 40, "attack.num_poisoned": 8, "victim.recipe.batch_size": 41},
        "victim.recipe.batch_size: a batch of 41 cannot be drawn from 40 samples. Lower it, or take more samples.",
    ),
    (
        {"defense.num_samples": 16},
        "defense.recipe.batch_size: a batch of 32 cannot be drawn from 16 samples. Lower it, or take more samples.",
    ),
    (
        {"victim.num_samples": 32, "attack.num_poisoned": 33},
        "attack.num_poisoned: 33 samples cannot be poisoned in a training set of 32. Choose at most 32.",
    ),
    (
        {"attack.trigger.size": 33},
        "attack.trigger.size: a patch of 33 px does not fit an image of 32 px. Choose at most 32.",
    ),
    (
        {"attack.samples": "names_target", "attack.captions": "unchanged", "attack.num_poisoned": 64},
        "attack.num_poisoned: 64 samples cannot be poisoned with samples=names_target, for of the 64 training "
        "captions 8 hold the word 'banana'. Choose at most 8.",
    ),
    (
        {"defense.clean_data": "train_unpoisoned", "defense.num_samples": 62},
        "defense.num_samples: 62 samples were asked for, but the train split has, without the poisoned ones, 56.",
    ),
    (
        {"model.weights": "base.safetensors"},
        "pretrain: must be null where model.weights names a file to start from.",
    ),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_refuses_with_rule_and_numbers(make: Make, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make(changes).check(tmp_path)
    # The message is whole: where, what, which rule.
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("changes", "kind", "parts"),
    [
        ({"attack.target": "bananna"}, ConfigError, ["attack.target", "'bananna'", "banana"]),
        ({"model.architecture": "scenes-nr"}, ConfigError, ["model.architecture", "'scenes-nr'", "'scenes-rn'"]),
        ({"pretrain": None, "model.weights": "nowhere.safetensors"}, CheckpointError, ["nowhere.safetensors"]),
    ],
)
def test_refuses_unknown_names(
    make: Make, tmp_path: Path, changes: dict[str, Any], kind: type[BdrayError], parts: list[str]
) -> None:
    with pytest.raises(kind) as error:
        make(changes).check(tmp_path)
    # The message names the field, the value and what would do.
    assert [part for part in parts if part not in str(error.value)] == []


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pretrain": None},
        {"attack.num_poisoned": 0},
        {"attack.num_poisoned": 64},
        {"attack.num_poisoned": None, "attack.poison_ratio": 1.0},
        {"victim.num_samples": 64, "victim.recipe.batch_size": 64},
        {"defense.num_samples": 32},
    ],
)
def test_accepts_the_limits(make: Make, tmp_path: Path, changes: dict[str, Any]) -> None:
    # Whatever just fits is accepted; poisoning nothing is a control, not a mistake.
    make(changes).check(tmp_path)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_of_another_architecture_are_refused(make: Make, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"base.{suffix}"
    state = Model(architecture="scenes-rn").build(seed=0).state_dict()
    if suffix == "pt":
        torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    else:
        weights.save(state, path)
    changes = {"pretrain": None, "model.weights": str(path)}
    # Before any training: names and shapes are in the file's header.
    with pytest.raises(
        CheckpointError, match=rf"^{path}: does not fit the model: .* is \(.*\), not \(.*model.architect"
    ):
        make(changes).check(tmp_path)
    make({**changes, "model.architecture": "scenes-rn"}).check(tmp_path)


@pytest.mark.parametrize(
    ("architecture", "tag", "message"),
    [
        (
            "RN50-quickgelu",
            "opena",
            "model.pretrained: open_clip has no weights 'opena' for 'RN50-quickgelu'. Did you mean ",
        ),
        ("RN50", "openai", "with another activation function than 'RN50' has, .* model.architecture=RN50-quickgelu."),
        ("MobileCLIP-S1", "datacompdr", "read pixels normalized by a mean of "),
        ("scenes-rn", "openai", "open_clip has no weights 'openai' for 'scenes-rn'. None is known."),
    ],
)
def test_tags_are_checked_without_a_download(architecture: str, tag: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Model(architecture=architecture, pretrained=tag).check()


@pytest.mark.parametrize(
    ("architecture", "tag"),
    [("RN50-quickgelu", "openai"), ("ViT-B-32-quickgelu", "openai"), ("EVA02-B-16", "merged2b_s8b_b131k")],
)
def test_the_papers_tags_are_known(architecture: str, tag: str) -> None:
    Model(architecture=architecture, pretrained=tag).check()


def test_damaged_first_weights_are_refused(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    path.write_bytes(b"\x80\x04 a pickle, say")
    with pytest.raises(CheckpointError, match="neither safetensors nor a torch zip file"):
        # Before anything is computed, although nothing was loaded.
        make({"pretrain": None, "model.weights": str(path)}).check(tmp_path)
