"""Defenses that train in the victim's place: against every attack, and with two workers as with one."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torch.distributed
from safetensors.torch import load_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from bdray.attacks.attack import Attack
from bdray.attacks.poisoned_set import PoisonedSet
from bdray.attacks.triggers.base import Trigger
from bdray.attacks.triggers.blended import Blended
from bdray.data.base import Pairs
from bdray.defenses.abl import ABL
from bdray.defenses.base import DefenderData, Defense
from bdray.defenses.roclip import RoCLIP
from bdray.defenses.ssl_pretraining import SslPretraining
from bdray.testing import example, learned, tiny_model, tiny_recipe, tiny_scenes, tiny_tokenizer
from bdray.training.batch_norm import synchronize
from bdray.training.session import Session

WORKERS = 2
ONCE = tiny_recipe(epochs=1)
DEFENSES: Mapping[str, Defense] = {
    "ssl": SslPretraining(recipe=ONCE),
    "abl": ABL(recipe=ONCE, num_suspicious=8),
    "roclip": RoCLIP(recipe=ONCE, break_epoch=1),
}
TWICE = tiny_recipe(gradient_clip=1.0)
SHARED: Mapping[str, Defense] = {
    "ssl": SslPretraining(recipe=TWICE),
    "abl": ABL(recipe=TWICE, num_suspicious=20),
    "abl-self": ABL(recipe=TWICE, num_suspicious=20, detection="self", detection_epoch=1),
    "roclip": RoCLIP(recipe=TWICE, break_epoch=1, bank_size=40),
}
"""A bank of 40 drops half a batch of 16 at a time."""


@pytest.fixture(scope="module")
def train(cache: Path) -> Pairs:
    return tiny_scenes(num_train=256).load("train", cache)


def defended(defense: Defense, train: Pairs, attack: Attack) -> dict[str, Tensor]:
    """Weights after training on an attacked set."""
    poisoning = attack.poison(train.captions, seed=0)
    data = DefenderData(
        poisoned=PoisonedSet(train, poisoning, np.arange(len(train))),
        clean_model=lambda: tiny_model("vit", seed=1).eval().requires_grad_(False),
    )
    model = tiny_model("vit")
    defense.run(model, data, Session(tokenizer=tiny_tokenizer(), seed=0))
    return dict(model.state_dict())


@pytest.mark.parametrize("name", DEFENSES)
@pytest.mark.parametrize("trigger", [pytest.param(member, id=name) for name, member in Trigger.members().items()])
def test_against_every_trigger(trigger: type[Trigger], name: str, train: Pairs) -> None:
    small = {"size": 6} if "size" in trigger.__dataclass_fields__ else {}
    ready = learned(example(trigger, **small))  # type: ignore[arg-type]
    some = Pairs(train.images[:32], train.captions[:32], train.labels[:32])
    # It learns from the set and its numbers stay finite.
    weights = defended(DEFENSES[name], some, Attack(trigger=ready, num_poisoned=8))
    assert not torch.equal(weights["visual.conv1.weight"], tiny_model("vit").state_dict()["visual.conv1.weight"])
    assert all(value.isfinite().all() for value in weights.values())


@pytest.mark.parametrize("name", DEFENSES)
@pytest.mark.parametrize(
    "fields",
    [
        {"num_poisoned": 2, "samples": "names_target", "captions": "unchanged"},
        {"num_poisoned": 8, "samples": "other", "captions": "natural"},
        {"num_poisoned": 0},
        {"poison_ratio": 1.0},
    ],
    ids=["label-consistent", "natural", "none", "all"],
)
def test_against_every_kind_of_attack(fields: dict[str, Any], name: str, train: Pairs) -> None:
    weights = defended(DEFENSES[name], train, Attack(trigger=Blended(), **fields))
    assert not torch.equal(weights["visual.conv1.weight"], tiny_model("vit").state_dict()["visual.conv1.weight"])
    assert all(value.isfinite().all() for value in weights.values())


class InDouble:
    """Turns the images that a model is given to float64, which feeds and evaluations have in float32."""

    def __call__(self, tower: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(images.double() for images in inputs)


def double(seed: int = 0) -> open_clip.CLIP:
    model = tiny_model("resnet", seed).double()
    model.visual.register_forward_pre_hook(InDouble())
    return model


def train_together(name: str, train: Pairs, folder: Path, rank: int, world_size: int) -> dict[str, Tensor]:
    """Weights after a defense in float64, and what its objective remembers."""
    poisoning = Attack(trigger=Blended(), num_poisoned=8).poison(train.captions, seed=0)
    data = DefenderData(
        poisoned=PoisonedSet(train, poisoning, np.arange(len(train))),
        clean_model=lambda: double(seed=1).eval().requires_grad_(False),
    )
    model, workspace = double(), folder / f"{name}-{world_size}"
    if world_size > 1:
        synchronize(model)
    SHARED[name].run(model, data, Session(tokenizer=tiny_tokenizer(), seed=0, workspace=workspace))
    if world_size > 1:
        torch.distributed.barrier()  # the first worker writes the checkpoint
    state = load_file(workspace / "train" / "checkpoint.safetensors")
    # Every worker's own weights, and the first one's memory.
    return dict(model.state_dict()) | {key: value for key, value in state.items() if key.startswith("objective.")}


def work(rank: int, folder: Path, train: Pairs) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=WORKERS
    )
    for name in SHARED:
        torch.save(train_together(name, train, folder, rank, WORKERS), folder / f"{name}-{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, train: Pairs) -> Path:
    """Where the two workers left their results."""
    path = tmp_path_factory.mktemp("workers")
    some = Pairs(train.images[:64].copy(), train.captions[:64], train.labels[:64].copy())
    spawn(work, args=(path, some), nprocs=WORKERS)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_two_workers_train_the_model_that_one_trains(name: str, folder: Path, train: Pairs, tmp_path: Path) -> None:
    some = Pairs(train.images[:64], train.captions[:64], train.labels[:64])
    expected = train_together(name, some, tmp_path, 0, 1)
    for rank in range(WORKERS):
        found = torch.load(folder / f"{name}-{rank}.pt")
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            # Weights and running statistics in float64, the bank row by row, and the same suspects.
            exact = not value.is_floating_point()
            loose = key == "objective.similarities"  # float32
            tolerance = 0.0 if exact else 1e-6 if loose else 1e-8
            torch.testing.assert_close(
                found[key], value, rtol=tolerance, atol=tolerance, msg=partial("{}: {}".format, key)
            )
    # Training moved the weights by far more than that.
    assert (expected["visual.conv1.weight"] - double().state_dict()["visual.conv1.weight"]).abs().max() > 1e-4
