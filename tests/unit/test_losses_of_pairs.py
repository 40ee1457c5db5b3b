"""Losses of some pairs of a batch (ABL, UBT), by hand and where there are hardly any pairs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bdray.losses import clip_loss, clip_loss_among, similarity_loss, unlearning_loss

EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-12}
IMAGES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=torch.float64)
TEXTS = torch.tensor([[0.6, 0.8], [0.6, -0.8], [0.8, -0.6]], dtype=torch.float64)
# s of the three pairs: 0.6, -0.8, 0
SCALE = torch.tensor(3.0, dtype=torch.float64)
PAIR_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "overfit": partial(similarity_loss, target=1.0),
    "squared": partial(similarity_loss, target=0.0),
    "unlearning": unlearning_loss,
    "floor": partial(unlearning_loss, floor=-0.5),
}


def features(count: int, seed: int) -> Tensor:
    rows = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(rows, dim=-1)


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        ("overfit", (0.4**2 + 1.8**2 + 1**2) / 3),  # UBT, Eq. 1
        ("squared", (0.6**2 + 0.8**2) / 3),  # ABL
        ("unlearning", (0.6 - 0.8 + 0) / 3),  # UBT, Eq. 3
        ("floor", (0.6 - 0.5 + 0) / 3),
    ],
)
def test_losses_of_pairs_by_hand(loss: str, value: float) -> None:
    assert PAIR_LOSSES[loss](IMAGES, TEXTS).item() == pytest.approx(value, abs=1e-12)


def test_the_floor_frees_pairs_below_it() -> None:
    for floor, free in ((-1.0, []), (-0.5, [1]), (0.3, [1, 2]), (0.9, [0, 1, 2])):
        images = IMAGES.clone().requires_grad_()
        unlearning_loss(images, TEXTS, floor).backward()
        assert images.grad is not None
        # What counts as unlearned has no gradient; what does not has that of the mean.
        for pair in range(3):
            expected = torch.zeros(2).double() if pair in free else TEXTS[pair] / 3
            torch.testing.assert_close(images.grad[pair], expected, **EXACT)


@pytest.mark.parametrize("loss", PAIR_LOSSES.values(), ids=PAIR_LOSSES)
def test_no_pairs_give_zero_with_gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    images = IMAGES.clone().requires_grad_()
    nobody = torch.zeros(3, dtype=torch.bool)
    value = loss(images[nobody], TEXTS[nobody])
    value.backward()
    # Not NaN, and a part of the graph.
    assert value.item() == 0
    assert images.grad is not None
    assert (images.grad == 0).all()


@pytest.mark.parametrize("loss", PAIR_LOSSES.values(), ids=PAIR_LOSSES)
def test_gradients(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    # Analytical gradients agree with finite differences.
    assert torch.autograd.gradcheck(loss, (features(5, 0).requires_grad_(), features(5, 1).requires_grad_()))


def test_clip_loss_among_is_that_of_the_members_alone() -> None:
    images, texts = features(6, 0), features(6, 1)
    members = torch.tensor([True, False, True, True, False, False])
    found = clip_loss_among(images, texts, SCALE, members)
    # The others are no negatives either.
    torch.testing.assert_close(found, clip_loss(images[[0, 2, 3]], texts[[0, 2, 3]], SCALE), **EXACT)
    everybody = torch.ones(6, dtype=torch.bool)
    torch.testing.assert_close(
        clip_loss_among(images, texts, SCALE, everybody), clip_loss(images, texts, SCALE), **EXACT
    )


@pytest.mark.parametrize("number", [0, 1])
def test_clip_loss_among_too_few_is_zero_with_gradient(number: int) -> None:
    inputs = [value.clone().requires_grad_() for value in (IMAGES, TEXTS, SCALE)]
    images, texts, scale = inputs
    value = clip_loss_among(images, texts, scale, torch.arange(3) < number)
    value.backward()
    # Nobody to be told from: zero for one pair as for none, and zero gradients instead of none.
    assert value.item() == 0
    assert all(tensor.grad is not None and bool((tensor.grad == 0).all()) for tensor in inputs)
