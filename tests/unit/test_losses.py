"""The losses against numbers worked out by hand, and against the paper's equations written as loops."""

from math import exp, log
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bdray.losses import clip_loss, in_modal_loss

EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-12}


def features(count: int = 5, width: int = 7, seed: int = 0) -> Tensor:
    """Random unit rows, float64 [count, width]."""
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(rows, dim=-1)


def double(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


IMAGES = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
TEXTS = torch.tensor([[0.6, 0.8], [1.0, 0.0]], dtype=torch.float64)
# s(I1,T1) = 0.6   s(I1,T2) = 1
# s(I2,T1) = 0.8   s(I2,T2) = 0


def test_clip_loss_of_two_pairs_by_hand() -> None:
    # 1/tau = 1. Each image looks for its text along a row, each text for its image along a column.
    rows = (log(exp(0.6) + exp(1)) - 0.6) + (log(exp(0.8) + exp(0)) - 0)
    columns = (log(exp(0.6) + exp(0.8)) - 0.6) + (log(exp(1) + exp(0)) - 0)
    torch.testing.assert_close(clip_loss(IMAGES, TEXTS, double(1)), double((rows + columns) / 4), **EXACT)
    # 1/tau = 10 multiplies the similarities, not the loss.
    rows = (log(exp(6) + exp(10)) - 6) + (log(exp(8) + exp(0)) - 0)
    columns = (log(exp(6) + exp(8)) - 6) + (log(exp(10) + exp(0)) - 0)
    torch.testing.assert_close(clip_loss(IMAGES, TEXTS, double(10)), double((rows + columns) / 4), **EXACT)


def test_in_modal_loss_of_two_samples_by_hand() -> None:
    # One direction only: originals look for their views, views do not look back.
    rows = (log(exp(6) + exp(10)) - 6) + (log(exp(8) + exp(0)) - 0)
    torch.testing.assert_close(in_modal_loss(IMAGES, TEXTS, double(10)), double(rows / 2), **EXACT)
    columns = (log(exp(6) + exp(8)) - 6) + (log(exp(10) + exp(0)) - 0)
    torch.testing.assert_close(in_modal_loss(TEXTS, IMAGES, double(10)), double(columns / 2), **EXACT)


def cleanclip_equation_2(images: Tensor, texts: Tensor, tau: float) -> float:
    """L_CLIP as CleanCLIP prints it, sum by sum."""
    total, count = 0.0, len(images)
    for i in range(count):
        over_texts = sum(exp(float(images[i] @ texts[k]) / tau) for k in range(count))
        over_images = sum(exp(float(images[k] @ texts[i]) / tau) for k in range(count))
        own = exp(float(images[i] @ texts[i]) / tau)
        total += log(own / over_texts) + log(own / over_images)
    return -total / (2 * count)


def cleanclip_equation_3(images: Tensor, image_views: Tensor, texts: Tensor, text_views: Tensor, tau: float) -> float:
    """L_SS as CleanCLIP prints it, sum by sum."""
    total, count = 0.0, len(images)
    for i in range(count):
        over_images = sum(exp(float(images[i] @ image_views[k]) / tau) for k in range(count))
        over_texts = sum(exp(float(texts[i] @ text_views[k]) / tau) for k in range(count))
        total += log(exp(float(images[i] @ image_views[i]) / tau) / over_images)
        total += log(exp(float(texts[i] @ text_views[i]) / tau) / over_texts)
    return -total / (2 * count)


@pytest.mark.parametrize("count", [2, 5, 16])
@pytest.mark.parametrize("tau", [1.0, 0.07, 0.01])
def test_losses_are_the_papers_equations(count: int, tau: float) -> None:
    images, image_views, texts, text_views = (features(count, seed=seed) for seed in range(4))
    scale = double(1 / tau)
    # Equation 2.
    expected = cleanclip_equation_2(images, texts, tau)
    torch.testing.assert_close(clip_loss(images, texts, scale), double(expected), **EXACT)
    # Equation 3 is the mean of both modalities.
    mean = (in_modal_loss(images, image_views, scale) + in_modal_loss(texts, text_views, scale)) / 2
    expected = cleanclip_equation_3(images, image_views, texts, text_views, tau)
    torch.testing.assert_close(mean, double(expected), **EXACT)


def test_symmetries() -> None:
    images, texts, scale, order = features(seed=0), features(seed=1), double(10), torch.tensor([3, 0, 4, 1, 2])
    loss = clip_loss(images, texts, scale)
    # Neither modality is special, and the order of a batch means nothing.
    torch.testing.assert_close(clip_loss(texts, images, scale), loss, **EXACT)
    torch.testing.assert_close(clip_loss(images[order], texts[order], scale), loss, **EXACT)
    in_modal = in_modal_loss(images, texts, scale)
    torch.testing.assert_close(in_modal_loss(images[order], texts[order], scale), in_modal, **EXACT)
    # The multimodal loss is the mean of both directions of the in-modal one.
    both = (in_modal + in_modal_loss(texts, images, scale)) / 2
    torch.testing.assert_close(loss, both, **EXACT)


@pytest.mark.parametrize("loss", [clip_loss, in_modal_loss])
def test_limits(loss: Any) -> None:
    count = 6
    alike = features(1).expand(count, -1)
    # Features that cannot be told apart: a guess among N, at every temperature.
    for scale in (0.0, 1.0, 100.0):
        torch.testing.assert_close(loss(alike, alike, double(scale)), double(log(count)), **EXACT)
    # Each feature equals its partner's and is orthogonal to all others.
    apart = torch.eye(count, dtype=torch.float64)
    torch.testing.assert_close(loss(apart, apart, double(1)), double(log(exp(1) + count - 1) - 1), **EXACT)
    torch.testing.assert_close(loss(apart, apart, double(100)), double(0), **EXACT)
    # Wrong for certain: the loss grows with the scale and stays finite at CLIP's largest.
    torch.testing.assert_close(loss(apart, apart.roll(1, 0), double(100)), double(100), **EXACT)


@pytest.mark.parametrize("loss", [clip_loss, in_modal_loss])
def test_gradients(loss: Any) -> None:
    inputs = (features(4, 3, 0), features(4, 3, 1), double(5.0))
    # Analytical gradients agree with finite differences, for both features and the temperature.
    assert torch.autograd.gradcheck(loss, tuple(value.clone().requires_grad_() for value in inputs))
