"""UBT's objective: terms and their weights, mixes of any kind, and the same on two workers as on one."""

from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.distributed
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from bdray.losses import clip_loss, similarity_loss, unlearning_loss
from bdray.objective import Batch, ContrastiveObjective, TrainingModule
from bdray.testing import TOWERS, Tower, tiny_model
from bdray.training.batch_norm import synchronize
from bdray.training.split import SplitObjective

WORKERS, COUNT, SAMPLES = 2, 8, 20
EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
PLACES = torch.tensor([3, 19, 7, 0, 12, 5, 9, 14])
"""Of the batch's samples in their training set."""
MIXES = {
    "some": [3, 7, 12, 1, 2],
    "none": [1, 2],
    "all": list(range(SAMPLES)),
    "all but one": [3, 19, 7, 0, 12, 5, 9],
    "one": [14],
    "one worker's": [3, 19, 7, 0],
}


def batch(rank: int = 0, world_size: int = 1) -> Batch:
    """One worker's share of a random batch of COUNT samples."""
    generator = torch.Generator().manual_seed(0)
    own = slice(rank * COUNT // world_size, (rank + 1) * COUNT // world_size)
    return Batch(
        images=torch.randn(COUNT, 3, 32, 32, generator=generator, dtype=torch.float64)[own],
        tokens=torch.randint(1, 800, (COUNT, 16), generator=generator)[own],
        samples=PLACES[own],
        is_poisoned=torch.zeros(COUNT // world_size, dtype=torch.bool),
    )


def objective(mix: str, clip_weight: float = 0.5) -> SplitObjective:
    marked = torch.zeros(SAMPLES, dtype=torch.bool)
    marked[MIXES[mix]] = True
    return SplitObjective(marked, partial(similarity_loss, target=1.0), "overfit_loss", clip_weight)


def test_marked_pairs_have_a_loss_of_their_own_and_the_others_l_clip() -> None:
    model, data, minimized = tiny_model("vit").double(), batch(), objective("some")
    loss = minimized(model, data)
    images, texts = model.encode_image(data.images, normalize=True), model.encode_text(data.tokens, normalize=True)
    marked, others = [0, 2, 4], [1, 3, 5, 6, 7]
    # Equation 1: marks are looked up by a sample's place in the training set, not in the batch.
    expected = ((images * texts).sum(1)[marked] - 1).square().mean()
    torch.testing.assert_close(loss.terms["overfit_loss"], expected, **EXACT)
    contrast = clip_loss(images[others], texts[others], model.logit_scale.exp())
    torch.testing.assert_close(loss.terms["clip_loss"], contrast, **EXACT)
    torch.testing.assert_close(loss.total, expected + 0.5 * contrast, **EXACT)
    assert not minimized.needs_views


@pytest.mark.parametrize("clip_weight", [0.0, 0.5])
@pytest.mark.parametrize("mix", MIXES)
def test_every_parameter_has_a_gradient_in_every_mix(mix: str, clip_weight: float) -> None:
    model = tiny_model("resnet").double().train()
    loss = objective(mix, clip_weight)(model, batch())
    loss.total.backward()
    # Distributed Data Parallel would wait for one that has none; and no empty mean is NaN.
    assert loss.total.isfinite()
    assert all(parameter.grad is not None and bool(parameter.grad.isfinite().all()) for parameter in model.parameters())
    # A term without pairs is zero, L_CLIP of a single pair, too, and one without weight is not computed.
    assert (loss.terms["overfit_loss"].item() == 0) == (mix == "none")
    if clip_weight:
        assert (loss.terms["clip_loss"].item() == 0) == (mix in ("all", "all but one"))
    else:
        assert set(loss.terms) == {"overfit_loss"}


def test_without_marks_it_is_clip() -> None:
    first, second = tiny_model("vit").double(), tiny_model("vit").double()
    objective("none", 1.0)(first, batch()).total.backward()
    ContrastiveObjective()(second, batch()).total.backward()
    for name, parameter in first.named_parameters():
        torch.testing.assert_close(parameter.grad, second.get_parameter(name).grad, **EXACT)


def test_unlearning_lowers_the_similarity_of_marked_pairs_only() -> None:
    model, data = tiny_model("vit").double(), batch()
    minimized = SplitObjective(objective("some").is_marked, unlearning_loss, "unlearning_loss", 0.0)

    def similarities() -> Tensor:
        with torch.no_grad():
            images = model.encode_image(data.images, normalize=True)
            return cast(Tensor, (images * model.encode_text(data.tokens, normalize=True)).sum(1))

    before, optimizer = similarities(), torch.optim.SGD(model.parameters(), lr=0.01)
    temperature = model.logit_scale.item()
    for _ in range(3):
        optimizer.zero_grad()
        minimized(model, data).total.backward()
        optimizer.step()
    change = similarities() - before
    # A step along the gradient of Equation 3; the temperature has no part in it.
    assert (change[[0, 2, 4]] < -1e-3).all()
    assert change[[0, 2, 4]].mean() < change[[1, 3, 5, 6, 7]].mean()
    assert model.logit_scale.item() == temperature


def step(tower: Tower, minimized: SplitObjective, rank: int, world_size: int) -> dict[str, Tensor]:
    """Loss terms, gradients and buffers after one forward and backward pass."""
    model = tiny_model(tower).double().train()
    if world_size > 1:
        synchronize(model)
    module = TrainingModule(model, minimized)
    forward = DistributedDataParallel(module) if world_size > 1 else module
    total, terms = forward(batch(rank, world_size))
    total.backward()
    gradients = {f"gradient of {name}": cast(Tensor, value.grad) for name, value in model.named_parameters()}
    buffers = {name: value for name, value in model.named_buffers() if "attn_mask" not in name}
    return {"total": total.detach(), **terms, **gradients, **buffers}


def work(rank: int, folder: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=WORKERS
    )
    for tower in TOWERS:
        for mix in MIXES:
            for weight in (0.0, 0.5):
                found = step(tower, objective(mix, weight), rank, WORKERS)
                save_file(
                    {name: value.contiguous() for name, value in found.items()}, file(folder, tower, mix, weight, rank)
                )
    torch.distributed.destroy_process_group()


def file(folder: Path, tower: Tower, mix: str, weight: float, rank: int) -> Path:
    return folder / f"{tower}-{mix}-{weight}-{rank}.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the two workers left their results."""
    path = tmp_path_factory.mktemp("workers")
    spawn(work, args=(path,), nprocs=WORKERS)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("clip_weight", [0.0, 0.5])
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("tower", TOWERS)
def test_two_workers_compute_the_loss_and_gradient_of_one(
    tower: Tower, mix: str, clip_weight: float, folder: Path
) -> None:
    expected = step(tower, objective(mix, clip_weight), 0, 1)
    # Every term, gradient and running statistic, on both workers, also where marked pairs are on one of them only.
    for rank in range(WORKERS):
        found = load_file(file(folder, tower, mix, clip_weight, rank))
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, **EXACT, msg=partial("{}: {}".format, key))
