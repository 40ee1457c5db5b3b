"""Two workers compute what one computes: losses, gradients, batch-norm statistics and whole trainings, in float64.

All cases run in one pair of processes, because starting them takes seconds; each test looks at one result.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import open_clip
import pytest
import torch
import torch.distributed
from open_clip import ClipLoss
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from bdray.attacks.attack import Attack
from bdray.attacks.triggers.badnet import BadNet
from bdray.models.execution import Execution
from bdray.models.recomputation import checkpoint_blocks
from bdray.models.towers import Towers
from bdray.objective import Batch, ContrastiveObjective, Loss, SupervisedObjective, TrainingModule
from bdray.testing import TOWERS, Tower, tiny_model, tiny_recipe, tiny_scenes, tiny_tokenizer
from bdray.training.batch_norm import synchronize
from bdray.training.feed import Feed
from bdray.training.loop import train

pytestmark = pytest.mark.slow

WORKERS, COUNT = 2, 8
OBJECTIVES = {
    "clip": ContrastiveObjective(1.0, 0.0),
    "in_modal": ContrastiveObjective(0.0, 1.0),
    "cleanclip": ContrastiveObjective(1.0, 2.0),
}
EXECUTIONS: dict[str, tuple[Tower, Execution]] = {
    "parts": ("vit", Execution(micro_batch=3)),
    "blocks twice": ("resnet", Execution(gradient_checkpointing=True)),
    "blocks of parts twice": ("vit", Execution(micro_batch=2, gradient_checkpointing=True)),
}
EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}


def share(rank: int, world_size: int) -> Batch:
    """One worker's share of a random batch of COUNT samples with views."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, COUNT, 3, 32, 32, generator=generator, dtype=torch.float64)
    tokens = torch.randint(1, 800, (2, COUNT, 16), generator=generator)
    own = slice(rank * COUNT // world_size, (rank + 1) * COUNT // world_size)
    samples = torch.arange(COUNT)[own]
    return Batch(
        images=pixels[0, own],
        tokens=tokens[0, own],
        samples=samples,
        is_poisoned=torch.zeros(len(samples), dtype=torch.bool),
        augmented_images=pixels[1, own],
        augmented_tokens=tokens[1, own],
    )


def step(
    tower: Tower, objective: ContrastiveObjective, rank: int, world_size: int, execution: Execution | None = None
) -> dict[str, Tensor]:
    """Loss terms, gradients and buffers after one forward and backward pass."""
    model, execution = tiny_model(tower).double().train(), execution or Execution()
    if world_size > 1:
        synchronize(model)
    if execution.gradient_checkpointing:
        checkpoint_blocks(model)
    module = TrainingModule(model, objective, Towers(model, execution, trains=True))
    forward = DistributedDataParallel(module) if world_size > 1 else module  # must outlive the backward pass
    total, terms = forward(share(rank, world_size))
    total.backward()
    gradients = {f"gradient of {name}": cast(Tensor, value.grad) for name, value in model.named_parameters()}
    buffers = {name: value for name, value in model.named_buffers() if "attn_mask" not in name}
    return {"total": total.detach(), **terms, **gradients, **buffers}


def supervised_step(rank: int, world_size: int) -> dict[str, Tensor]:
    """Loss and gradients of an image tower with a head, whose text tower is not trained."""
    model = tiny_model("resnet").double().train()
    if world_size > 1:
        synchronize(model)
    for name, value in model.named_parameters():
        value.requires_grad_(name.startswith("visual."))
    module = TrainingModule(model, SupervisedObjective(torch.arange(COUNT) % 3, 3, 16, seed=0).double())
    forward = DistributedDataParallel(module) if world_size > 1 else module
    total, _ = forward(share(rank, world_size))
    total.backward()
    trained = ((name, value) for name, value in module.named_parameters() if value.requires_grad)
    return {"total": total.detach()} | {name: cast(Tensor, value.grad) for name, value in trained}


def open_clips_step(rank: int, world_size: int) -> dict[str, Tensor]:
    """Gradients of open_clip's own distributed loss: local, with gradient through the gathering."""
    loss = ClipLoss(local_loss=True, gather_with_grad=True, rank=rank, world_size=world_size)
    model, own = tiny_model("vit").double().train(), share(rank, world_size)
    forward = DistributedDataParallel(model)
    images, texts, scale = forward(own.images, own.tokens)
    loss(images, texts, scale).backward()
    return {f"gradient of {name}": cast(Tensor, value.grad) for name, value in model.named_parameters()}


class InDouble:
    """The CleanCLIP objective on batches turned to float64, which a feed has in float32."""

    needs_views = True

    def __call__(self, model: open_clip.CLIP, batch: Batch) -> Loss:
        assert batch.augmented_images is not None
        doubled = replace(batch, images=batch.images.double(), augmented_images=batch.augmented_images.double())
        return OBJECTIVES["cleanclip"](model, doubled)


def short_training(cache: Path, rank: int, world_size: int) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Weights and history after two epochs of CleanCLIP on poisoned scenes."""
    data, recipe = tiny_scenes(), tiny_recipe(gradient_clip=1.0)
    pairs = data.load("train", cache)
    poisoning = Attack(trigger=BadNet(size=6), num_poisoned=8).poison(pairs.captions, seed=0)
    tokens = tiny_tokenizer()(poisoning.replace_captions(pairs.captions))
    feed = Feed(
        images=pairs.images,
        tokens=tokens,
        augmented_tokens=tokens.roll(1, 1),
        batch_size=recipe.batch_size,
        seed=0,
        poisoning=poisoning,
        rank=rank,
        world_size=world_size,
    )
    model = tiny_model("resnet").double()
    if world_size > 1:
        synchronize(model)
    reports: list[dict[str, float]] = []
    train(
        model,
        InDouble(),
        feed,
        recipe,
        report=lambda metrics: reports.append({**metrics, "train_seconds": 0.0}),
        evaluate=lambda: {"rank": float(rank)},
    )
    return model.state_dict(), reports


def work(rank: int, folder: Path, cache: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=WORKERS
    )
    for tower in TOWERS:
        for name, objective in OBJECTIVES.items():
            save(step(tower, objective, rank, WORKERS), folder / f"{tower}-{name}-{rank}")
    for name, (tower, execution) in EXECUTIONS.items():
        save(step(tower, OBJECTIVES["cleanclip"], rank, WORKERS, execution), folder / f"{name}-{rank}")
    save(supervised_step(rank, WORKERS), folder / f"supervised-{rank}")
    save(open_clips_step(rank, WORKERS), folder / f"open_clip-{rank}")
    weights, reports = short_training(cache, rank, WORKERS)
    save(weights, folder / f"training-{rank}")
    (folder / f"reports-{rank}.json").write_text(json.dumps(reports))
    torch.distributed.destroy_process_group()


def save(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Where the two workers left their results."""
    path = tmp_path_factory.mktemp("workers")
    spawn(work, args=(path, cache), nprocs=WORKERS)
    return path


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("tower", TOWERS)
def test_two_workers_compute_the_loss_and_gradient_of_one(tower: Tower, name: str, folder: Path) -> None:
    expected = step(tower, OBJECTIVES[name], 0, 1)
    # Every loss term, every parameter's gradient and every running statistic, on every worker.
    for rank in range(WORKERS):
        found = load_file(folder / f"{tower}-{name}-{rank}")
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, **EXACT, msg=partial("{}: {}".format, key))
    # The comparison is of something: gradients reach towers, projections and the temperature.
    gradients = [value for key, value in expected.items() if key.startswith("gradient")]
    assert all(value.isfinite().all() for value in gradients)
    assert expected["gradient of logit_scale"].abs() > 1e-6
    assert expected["gradient of visual.conv1.weight"].abs().max() > 1e-6


@pytest.mark.parametrize("name", EXECUTIONS)
def test_two_workers_may_save_memory(name: str, folder: Path) -> None:
    expected = step(EXECUTIONS[name][0], OBJECTIVES["cleanclip"], 0, 1)
    # Parts of a worker's share, and blocks that pass twice while batch norm talks to the other worker.
    for rank in range(WORKERS):
        for key, found in load_file(folder / f"{name}-{rank}").items():
            torch.testing.assert_close(found, expected[key], **EXACT, msg=partial("{}: {}".format, key))


def test_two_workers_train_a_head_like_one(folder: Path) -> None:
    expected = supervised_step(0, 1)
    # Head and image tower have the gradients of the whole batch's loss on either worker.
    for rank in range(WORKERS):
        found = load_file(folder / f"supervised-{rank}")
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, **EXACT, msg=partial("{}: {}".format, key))
    assert expected["objective.head.weight"].abs().max() > 1e-6


def test_open_clips_local_loss_has_the_same_gradient(folder: Path) -> None:
    expected = step("vit", OBJECTIVES["clip"], 0, 1)
    # Ours computes all rows of the logits on every worker, open_clip's each worker its own; DDP's mean is the same.
    for rank in range(WORKERS):
        theirs = load_file(folder / f"open_clip-{rank}")
        for key, found in theirs.items():
            torch.testing.assert_close(found, expected[key], **EXACT, msg=partial("{}: {}".format, key))
        assert len(theirs) > 10


def test_two_workers_train_the_model_that_one_trains(folder: Path, cache: Path) -> None:
    weights, reports = short_training(cache, 0, 1)
    # After two epochs (eight steps of AdamW with gradient clipping) on poisoned, augmented data: the same weights
    # and running statistics on every worker.
    for rank in range(WORKERS):
        found = load_file(folder / f"training-{rank}")
        assert found.keys() == weights.keys()
        for key, value in weights.items():
            torch.testing.assert_close(found[key], value, rtol=1e-8, atol=1e-8, msg=partial("{}: {}".format, key))
    # Training moved the weights by far more than that.
    start = tiny_model("resnet").double().state_dict()
    assert all((weights[key] - start[key]).abs().max() > 1e-4 for key in ("visual.conv1.weight", "text_projection"))
    # Every worker reports every epoch with values of the whole batch, and takes part in its evaluation.
    first, second = (json.loads((folder / f"reports-{rank}.json").read_text()) for rank in range(WORKERS))
    assert [report["rank"] for report in (*first, *second)] == [0.0, 0.0, 1.0, 1.0]
    assert [{**report, "rank": 0.0} for report in second] == first
    assert len(first) == len(reports) == 2
    for found, expected in zip(first, reports, strict=True):
        assert found == pytest.approx(expected, abs=1e-9)
