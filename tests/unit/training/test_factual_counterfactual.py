"""CleanerCLIP's objective: CleanCLIP's for usual batches, L_FC for extra ones, with two workers as with one."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from bdray.checkpoint import History
from bdray.losses import FactualVariant, factual_counterfactual_loss
from bdray.objective import Batch, ContrastiveObjective, TrainingModule
from bdray.testing import TOWERS, Tower, tiny_model, tiny_recipe, tiny_scenes, tiny_tokenizer
from bdray.text.eda import Eda
from bdray.text.parsers.lexicon import Lexicon
from bdray.training.batch_norm import synchronize
from bdray.training.factual_counterfactual import FactualCounterfactualObjective
from bdray.training.session import Session
from bdray.training.sub_captions import SubCaptionedBatch, SubCaptionSource

WORKERS, COUNT = 2, 8
EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
CLEANCLIP = ContrastiveObjective(1.0, 2.0)
OBJECTIVES: dict[FactualVariant, FactualCounterfactualObjective] = {
    variant: FactualCounterfactualObjective(CLEANCLIP, 0.7, 0.3, 0.2, variant)
    for variant in ("image_to_text", "both", "own_pair")
}


def share(rank: int = 0, world_size: int = 1) -> SubCaptionedBatch:
    """One worker's share of a random extra batch of COUNT samples."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(COUNT, 3, 32, 32, generator=generator, dtype=torch.float64)
    tokens = torch.randint(1, 800, (3, COUNT, 16), generator=generator)
    own = slice(rank * COUNT // world_size, (rank + 1) * COUNT // world_size)
    samples = torch.arange(COUNT)[own]
    return SubCaptionedBatch(
        images=images[own],
        tokens=tokens[0, own],
        samples=samples,
        is_poisoned=torch.zeros(len(samples), dtype=torch.bool),
        factual_tokens=tokens[1, own],
        counterfactual_tokens=tokens[2, own],
    )


def step(
    tower: Tower, objective: FactualCounterfactualObjective, rank: int = 0, world_size: int = 1
) -> dict[str, Tensor]:
    """Loss terms, gradients and buffers after one forward and backward pass of an extra batch."""
    model = tiny_model(tower).double().train()
    if world_size > 1:
        synchronize(model)
    module = TrainingModule(model, objective)
    forward = DistributedDataParallel(module) if world_size > 1 else module  # must outlive the backward pass
    total, terms = forward(share(rank, world_size))
    total.backward()
    gradients: dict[str, Tensor] = {}
    for name, value in model.named_parameters():
        assert value.grad is not None, name  # DDP waits for it
        gradients[f"gradient of {name}"] = value.grad
    buffers = {name: value for name, value in model.named_buffers() if "attn_mask" not in name}
    return {"total": total.detach(), **terms, **gradients, **buffers}


@pytest.mark.parametrize("variant", OBJECTIVES)
def test_extra_batches_give_the_weighted_loss_of_sub_captions(variant: FactualVariant) -> None:
    model, batch, objective = tiny_model("vit").double(), share(), OBJECTIVES[variant]

    def features(tokens: Tensor) -> Tensor:
        return F.normalize(model.encode_text(tokens), dim=-1)

    expected = factual_counterfactual_loss(
        F.normalize(model.encode_image(batch.images), dim=-1),
        features(batch.factual_tokens),
        features(batch.counterfactual_tokens),
        tau_positive=0.3,
        tau_negative=0.2,
        variant=variant,
    )
    loss = objective(model, batch)
    # Unweighted where it is logged, weighted where it is minimized.
    assert set(loss.terms) == {"factual_loss"}
    torch.testing.assert_close(loss.terms["factual_loss"], expected, **EXACT)
    torch.testing.assert_close(loss.total, 0.7 * expected, **EXACT)


def test_gradients_of_extra_batches() -> None:
    for objective in OBJECTIVES.values():
        found = step("vit", objective)
        # Both towers learn; the temperature of CLIP, which L_FC does not use, gets zero, not nothing.
        assert found["gradient of logit_scale"] == 0
        for name in ("visual.conv1.weight", "token_embedding.weight", "text_projection"):
            assert found[f"gradient of {name}"].abs().max() > 1e-6


def test_usual_batches_are_cleanclips() -> None:
    extra = share()
    viewed = Batch(
        extra.images, extra.tokens, extra.samples, extra.is_poisoned, extra.images.flip(-1), extra.tokens.roll(1, 1)
    )
    model, objective = tiny_model("vit").double(), OBJECTIVES["both"]
    found, expected = objective(model, viewed), CLEANCLIP(model, viewed)
    assert {name: value.item() for name, value in found.terms.items()} == {
        name: value.item() for name, value in expected.terms.items()
    }
    assert found.total.item() == expected.total.item()
    # Views are made if CleanCLIP's part wants them.
    assert objective.needs_views
    assert not replace(objective, cleanclip=ContrastiveObjective(1.0, 0.0)).needs_views


class InDouble:
    """Turns the images that a model is given to float64, which a feed has in float32."""

    def __call__(self, tower: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(images.double() for images in inputs)


def short_training(cache: Path, world_size: int) -> tuple[dict[str, Tensor], History]:
    """Weights and history after two epochs of four usual batches and two extra ones."""
    pairs, tokenizer = tiny_scenes().load("finetune", cache), tiny_tokenizer()
    model = tiny_model("resnet").double()
    model.visual.register_forward_pre_hook(InDouble())
    if world_size > 1:
        synchronize(model)
    history = Session(tokenizer=tokenizer, seed=0).train(
        model,
        OBJECTIVES["both"],
        tiny_recipe(gradient_clip=1.0),
        pairs.images,
        pairs.captions,
        text_augmentation=Eda(),
        sub_captions=SubCaptionSource(pairs.captions, Lexicon(), tokenizer, seed=0, number=20),
    )
    return model.state_dict(), [{**entry, "train_seconds": 0.0} for entry in history]


def work(rank: int, folder: Path, cache: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=WORKERS
    )
    for tower in TOWERS:
        for variant, objective in OBJECTIVES.items():
            found = {name: value.contiguous() for name, value in step(tower, objective, rank, WORKERS).items()}
            save_file(found, folder / f"{tower}-{variant}-{rank}")
    weights, history = short_training(cache, WORKERS)
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / f"training-{rank}")
    (folder / f"history-{rank}.json").write_text(json.dumps(history))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Where the two workers left their results."""
    path = tmp_path_factory.mktemp("workers")
    spawn(work, args=(path, cache), nprocs=WORKERS)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("variant", OBJECTIVES)
@pytest.mark.parametrize("tower", TOWERS)
def test_two_workers_compute_the_loss_and_gradient_of_one(tower: Tower, variant: FactualVariant, folder: Path) -> None:
    expected = step(tower, OBJECTIVES[variant])
    # The loss, every parameter's gradient and every running statistic, on every worker.
    for rank in range(WORKERS):
        found = load_file(folder / f"{tower}-{variant}-{rank}")
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, **EXACT, msg=partial("{}: {}".format, key))


@pytest.mark.slow
def test_two_workers_train_the_model_that_one_trains(folder: Path, cache: Path) -> None:
    weights, history = short_training(cache, 1)
    # Twelve steps, four of them with sub-captions: the same weights and running statistics on every worker.
    for rank in range(WORKERS):
        found = load_file(folder / f"training-{rank}")
        assert found.keys() == weights.keys()
        for key, value in weights.items():
            torch.testing.assert_close(found[key], value, rtol=1e-8, atol=1e-8, msg=partial("{}: {}".format, key))
        # Both report all terms, of the whole batches that have them.
        reported = json.loads((folder / f"history-{rank}.json").read_text())
        for entry, expected in zip(reported, history, strict=True):
            assert {"clip_loss", "in_modal_loss", "factual_loss"} < entry.keys()
            assert entry == pytest.approx(expected, abs=1e-9)
