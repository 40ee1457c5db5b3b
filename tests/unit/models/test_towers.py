"""How models are computed: parts of batches and blocks once more give the same numbers, other types nearly the same."""

import copy
from dataclasses import replace
from typing import Any, Literal, cast

import open_clip
import pytest
import torch
from torch import Tensor

from bdray.exceptions import ConfigError
from bdray.models.clip import Model
from bdray.models.execution import Execution
from bdray.models.recomputation import checkpoint_blocks
from bdray.models.relevancy import token_relevancy
from bdray.models.towers import Towers
from bdray.objective import Batch, ContrastiveObjective, TrainingModule
from bdray.testing import TOWERS, Tower, tiny_model

COUNT = 7
EXACT: dict[str, Any] = {"rtol": 1e-11, "atol": 1e-13}


def batch(dtype: torch.dtype = torch.float64) -> Batch:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, COUNT, 3, 32, 32, generator=generator, dtype=torch.float64).to(dtype)
    tokens = torch.randint(1, 800, (2, COUNT, 16), generator=generator)
    nothing = torch.zeros(COUNT, dtype=torch.bool)
    return Batch(pixels[0], tokens[0], torch.arange(COUNT), nothing, pixels[1], tokens[1])


def step(model: open_clip.CLIP, execution: Execution, given: Batch | None = None) -> dict[str, Tensor]:
    """Loss terms, gradients and buffers of CleanCLIP's objective after one pass forward and backward."""
    towers = Towers(model.train(), execution, trains=True)
    total, terms = TrainingModule(model, ContrastiveObjective(1.0, 2.0), towers)(given or batch())
    total.backward()
    gradients = {f"gradient of {name}": cast(Tensor, value.grad) for name, value in model.named_parameters()}
    buffers = {name: value for name, value in model.named_buffers() if "attn_mask" not in name}
    return {"total": total.detach(), **terms, **gradients, **buffers}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **EXACT)


@pytest.mark.parametrize("size", [1, 3, 5, 2 * COUNT - 1, 2 * COUNT])
def test_parts_of_a_batch_have_the_loss_and_gradient_of_the_whole(size: int) -> None:
    expected = step(tiny_model("vit").double(), Execution())
    # In float64, for parts of all sizes, with a rest and without: 14 images and captions with their views.
    assert_same(step(tiny_model("vit").double(), Execution(micro_batch=size)), expected)
    assert expected["gradient of visual.conv1.weight"].abs().max() > 1e-6


def test_parts_pass_one_at_a_time() -> None:
    sizes = []
    model = tiny_model("vit").double()
    model.visual.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    step(model, Execution(micro_batch=4))
    # Once for the loss, and once more for the gradient, so that activations of four images are there at most.
    assert sizes == [4, 4, 4, 2, 2, 4, 4, 4]


@pytest.mark.parametrize("tower", TOWERS)
def test_blocks_computed_twice_have_the_same_gradient_and_statistics(tower: Tower) -> None:
    expected, model = step(tiny_model(tower).double(), Execution()), tiny_model(tower).double()
    checkpoint_blocks(model)
    # Running statistics of batch norm, too: each batch counts once.
    assert_same(step(model, Execution()), expected)
    # It goes with a copy, as UBT makes one of the victim, and the copy is one: its gradients are its own.
    copied = copy.deepcopy(tiny_model(tower).double())
    checkpoint_blocks(copied)
    twin = copy.deepcopy(copied)
    assert_same(step(twin, Execution()), expected)
    assert all(parameter.grad is None for parameter in copied.parameters())


def test_blocks_do_not_keep_what_is_inside_of_them() -> None:
    kept = []

    def pack(value: Tensor) -> Tensor:
        kept.append(value.numel())
        return value

    sizes = []
    for execution in (False, True):
        model = tiny_model("resnet").double().train()
        if execution:
            checkpoint_blocks(model)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            model.encode_image(batch().images)
        sizes.append(sum(kept))
        kept.clear()
    # Of four blocks with three convolutions each, the rest are the stem and the pooling.
    assert sizes[1] < 0.7 * sizes[0]


def test_relevancy_is_the_same_with_blocks_computed_twice() -> None:
    model, features = tiny_model("vit").eval(), torch.nn.functional.normalize(torch.ones(COUNT, 16), dim=-1)
    expected = token_relevancy(model, batch().tokens, features, "all")
    checkpoint_blocks(model)
    assert torch.equal(token_relevancy(model, batch().tokens, features, "all"), expected)
    assert model.transformer.grad_checkpointing


@pytest.mark.parametrize(("precision", "type_"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
@pytest.mark.parametrize("tower", TOWERS)
def test_reduced_precision_is_for_towers_only(
    tower: Tower, precision: Literal["bf16", "fp16"], type_: torch.dtype
) -> None:
    given = batch(torch.float32)
    model, execution = tiny_model(tower), Execution(precision=precision)
    inside = []
    model.visual.register_forward_hook(lambda module, inputs, output: inside.append(output.dtype))
    found, expected = step(model, execution, given), step(tiny_model(tower), Execution(), given)
    # The towers compute in it,
    assert set(inside) == {type_}
    # features, losses and gradients are in float32, and so are the weights,
    assert all(value.dtype == torch.float32 for name, value in found.items() if "num_batches" not in name)
    # rows of unit length are that in float32: to a few in ten million, not to a few in a thousand,
    features = Towers(model.eval(), execution).encode_image(given.images, normalize=True)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(COUNT), rtol=0, atol=1e-6)
    # and the loss is the same to some digits.
    torch.testing.assert_close(found["total"], expected["total"], rtol=2e-2, atol=0)
    assert not torch.equal(found["total"], expected["total"])


def test_plain_execution_changes_no_bit() -> None:
    model, given = tiny_model("resnet").eval(), batch(torch.float32)
    towers = Towers(model, Execution())
    for normalize in (False, True):
        assert torch.equal(towers.encode_image(given.images, normalize), model.encode_image(given.images, normalize))
        assert torch.equal(towers.encode_text(given.tokens, normalize), model.encode_text(given.tokens, normalize))
    assert towers.logit_scale is model.logit_scale


@pytest.mark.slow
def test_compiled_towers_compute_the_same() -> None:
    expected = step(tiny_model("vit"), Execution(), batch(torch.float32))
    found = step(tiny_model("vit"), Execution(compile=True), batch(torch.float32))
    torch.testing.assert_close(found["total"], expected["total"])
    name = "gradient of visual.conv1.weight"
    torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "settings", "message"),
    [
        (
            "scenes-rn8",
            {"micro_batch": 8},
            "training.micro_batch: scenes-rn8 has batch normalization, which over parts",
        ),
        ("RN50", {"micro_batch": 8}, "training.micro_batch: RN50 has batch normalization"),
        (
            "MobileCLIP-S1",
            {"gradient_checkpointing": True},
            "training.gradient_checkpointing: MobileCLIP-S1 has BatchN",
        ),
        ("RN50", {"gradient_checkpointing": True, "compile": True}, "training.compile: does not go with training.gra"),
    ],
)
def test_settings_that_would_train_something_else_are_refused(
    architecture: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        replace(Execution(), **settings).check(Model(architecture=architecture))  # type: ignore[arg-type]


def test_settings_that_compute_the_same_are_accepted() -> None:
    Execution(micro_batch=8, gradient_checkpointing=True, compile=True).check(Model(architecture="ViT-B-32"))
    Execution(gradient_checkpointing=True, precision="bf16").check(Model(architecture="RN50"))
