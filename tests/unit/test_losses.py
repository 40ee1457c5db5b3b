"""The losses against numbers worked out by hand, and against the paper's equations written as loops."""

from math import exp, log
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bdray.losses import FactualVariant, clip_loss, factual_counterfactual_loss, in_modal_loss, similarity_loss

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


NEGATIVES = torch.tensor([[0.0, 1.0], [-0.6, 0.8]], dtype=torch.float64)
# s(I1,Q1) = 0   s(I1,Q2) = -0.6
# s(I2,Q1) = 1   s(I2,Q2) = 0.8
TAUS = (0.5, 0.25)
# With these, similarities with P (TEXTS) are doubled, those with Q quadrupled.
TO_TEXT = (log(exp(1.2) + exp(2) + exp(0) + exp(-2.4)) - 1.2) + (log(exp(1.6) + exp(0) + exp(4) + exp(3.2)) - 0)
BY_HAND: dict[FactualVariant, float] = {
    # The way back without any Q, then with similarities of the own Q and both images.
    "image_to_text": (TO_TEXT + (log(exp(1.2) + exp(1.6)) - 1.2) + (log(exp(2) + exp(0)) - 0)) / 4,
    "both": (
        TO_TEXT + (log(exp(1.2) + exp(1.6) + exp(0) + exp(4)) - 1.2) + (log(exp(2) + exp(0) + exp(-2.4) + exp(3.2)) - 0)
    )
    / 4,
    # Each image between its two sub-captions.
    "own_pair": ((log(exp(1.2) + exp(0)) - 1.2) + (log(exp(0) + exp(3.2)) - 0)) / 2,
}


@pytest.mark.parametrize("variant", BY_HAND)
def test_factual_counterfactual_loss_of_two_samples_by_hand(variant: FactualVariant) -> None:
    found = factual_counterfactual_loss(IMAGES, TEXTS, NEGATIVES, *TAUS, variant)
    torch.testing.assert_close(found, double(BY_HAND[variant]), **EXACT)


def test_factual_counterfactual_loss_without_negatives_is_cleanclips() -> None:
    images, texts, far = features(seed=0), features(seed=1), features(seed=2)
    # A counterfactual of no weight (its temperature lets all of them count 1, its similarity 0) adds N to denominators
    # that a small tau+ makes large: what is left is Equation 2 of CleanCLIP.
    found = factual_counterfactual_loss(images, texts, far * 0, 0.01, 1.0)
    torch.testing.assert_close(found, clip_loss(images, texts, double(100)), rtol=1e-4, atol=0)


@pytest.mark.parametrize("variant", BY_HAND)
def test_what_the_factual_counterfactual_loss_wants(variant: FactualVariant) -> None:
    images, order = features(seed=0), torch.tensor([3, 0, 4, 1, 2])

    def loss(positive: Tensor, negative: Tensor) -> float:
        return factual_counterfactual_loss(images, positive, negative, 0.3, 0.3, variant).item()

    # It is low where images are at their factual sub-captions, high where they are at the counterfactual ones.
    assert loss(images, features(seed=1)) < loss(features(seed=1), features(seed=2)) < loss(features(seed=1), images)
    # The order of a batch means nothing.
    positive, negative = features(seed=1), features(seed=2)
    shuffled = factual_counterfactual_loss(images[order], positive[order], negative[order], 0.3, 0.3, variant)
    assert shuffled.item() == pytest.approx(loss(positive, negative), abs=1e-12)
    # Two sub-captions that cannot be told apart: a guess among all that are compared.
    alike = features(1).expand(5, -1)
    same = factual_counterfactual_loss(alike, alike, alike, 0.3, 0.3, variant).item()
    expected = {"image_to_text": (log(10) + log(5)) / 2, "both": log(10), "own_pair": log(2)}
    assert same == pytest.approx(expected[variant], abs=1e-12)


@pytest.mark.parametrize("variant", BY_HAND)
def test_gradients_of_the_factual_counterfactual_loss(variant: FactualVariant) -> None:
    def loss(image: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return factual_counterfactual_loss(image, positive, negative, 0.3, 0.2, variant)

    inputs = tuple(features(4, 3, seed).requires_grad_() for seed in range(3))
    # Analytical gradients agree with finite differences, for images and both kinds of sub-captions.
    assert torch.autograd.gradcheck(loss, inputs)


def test_similarity_loss_is_the_mean_squared_distance_from_a_target() -> None:
    # s = 0.6 and 0 (see above): (0.36 + 0) / 2 to target 0, (0.16 + 1) / 2 to target 1.
    torch.testing.assert_close(similarity_loss(IMAGES, TEXTS, 0.0), double(0.18), **EXACT)
    torch.testing.assert_close(similarity_loss(IMAGES, TEXTS, 1.0), double(0.58), **EXACT)
    # Of no pairs it is zero and no NaN, with a gradient that is there.
    images = IMAGES[:0].clone().requires_grad_()
    loss = similarity_loss(images, TEXTS[:0], 1.0)
    loss.backward()
    assert loss.item() == 0
    assert images.grad is not None
    inputs = (features(4, 3, 0).requires_grad_(), features(4, 3, 1).requires_grad_())
    assert torch.autograd.gradcheck(lambda first, second: similarity_loss(first, second, 0.3), inputs)
