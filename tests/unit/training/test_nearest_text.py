"""RoCLIP's objective: images meet the nearest of recent texts, from which no gradient comes."""

from collections import deque
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bdray.losses import clip_loss
from bdray.objective import Batch, ContrastiveObjective
from bdray.testing import tiny_model
from bdray.training.nearest_text import NearestTextObjective

COUNT, WIDTH = 4, 16


def batch(seed: int = 0) -> Batch:
    """Random pixels and tokens with views of their own, float64."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(2, COUNT, 3, 32, 32, generator=generator, dtype=torch.float64)
    tokens = torch.randint(1, 800, (2, COUNT, 16), generator=generator)
    return Batch(
        images=pixels[0],
        tokens=tokens[0],
        samples=torch.arange(COUNT),
        is_poisoned=torch.zeros(COUNT, dtype=torch.bool),
        augmented_images=pixels[1],
        augmented_tokens=tokens[1],
    )


def objective(bank_size: int = 10, **fields: Any) -> NearestTextObjective:
    return NearestTextObjective(bank_size, WIDTH, **fields).double()


def texts_of(model: Any, data: Batch) -> Tensor:
    """Features of the augmented captions, [COUNT, WIDTH]."""
    with torch.no_grad():
        features: Tensor = model.encode_text(data.augmented_tokens, normalize=True)
    return features


def test_images_are_matched_with_the_nearest_text_of_the_bank() -> None:
    model, data = tiny_model("vit").double(), batch()
    minimized = objective(break_epoch=1)
    images = model.encode_image(data.augmented_images, normalize=True)
    # So unlike all images that a row of zeros would be nearer.
    noise = torch.randn(3, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    known = F.normalize(0.1 * noise - images.detach().mean(0), dim=1)
    assert (images @ known.T).max() < 0
    minimized.bank[:3], minimized.count[...] = known, 3
    loss = minimized(model, data)
    nearest = known[torch.cdist(images, known).argmin(1)]
    # InfoNCE between augmented images and what was in the bank before this batch: not their own texts, not its empty
    # rows.
    expected = clip_loss(images, nearest, model.logit_scale.exp())
    assert set(loss.terms) == {"matched_loss"}
    torch.testing.assert_close(loss.total, expected, rtol=0, atol=1e-12)
    # Then this batch's augmented texts follow those in the bank.
    assert minimized.count.item() == 3 + COUNT
    torch.testing.assert_close(minimized.bank[:7], torch.cat([known, texts_of(model, data)]), rtol=0, atol=1e-12)
    assert not minimized.bank[7:].any()


def test_the_text_tower_gets_a_gradient_of_exactly_zero() -> None:
    model = tiny_model("vit").double()
    minimized = objective(break_epoch=1)
    for seed in range(2):  # with an empty bank, and with one that is not
        model.zero_grad()
        minimized(model, batch(seed)).total.backward()
        for name, parameter in model.named_parameters():
            # Zero, but there: Distributed Data Parallel waits for it.
            assert parameter.grad is not None, name
            is_of_texts = not name.startswith("visual.") and name != "logit_scale"
            if is_of_texts:
                assert not parameter.grad.any(), name
        # Images and temperature do learn.
        assert model.visual.conv1.weight.grad.abs().max() > 1e-6
        assert model.logit_scale.grad.abs() > 1e-6


@pytest.mark.parametrize("bank_size", [1, 3, 4, 6, 10, 100])
def test_the_bank_holds_the_latest_texts(bank_size: int) -> None:
    model, minimized = tiny_model("vit").double(), objective(bank_size, break_epoch=1)
    expected: deque[Tensor] = deque(maxlen=bank_size)
    for seed in range(5):
        minimized(model, batch(seed))
        expected.extend(texts_of(model, batch(seed)))
        # The same as a queue that drops the oldest, whether batches are smaller, as large or larger than it.
        order = (torch.arange(len(expected)) + int(minimized.count) - len(expected)) % bank_size
        torch.testing.assert_close(minimized.bank[order], torch.stack(list(expected)), rtol=0, atol=1e-12)


def test_a_batch_that_finds_the_bank_empty_is_matched_with_its_own_texts() -> None:
    model, data = tiny_model("vit").double(), batch()
    loss = objective(break_epoch=1)(model, data)
    images, texts = model.encode_image(data.augmented_images, normalize=True), texts_of(model, data)
    # The nearest of them, which need not be the image's own.
    expected = clip_loss(images, texts[(images @ texts.T).argmax(1)], model.logit_scale.exp())
    torch.testing.assert_close(loss.total, expected, rtol=0, atol=1e-12)


def test_other_epochs_are_clip_and_leave_the_bank_alone() -> None:
    data = batch()
    assert data.augmented_images is not None
    assert data.augmented_tokens is not None
    augmented = replace(data, images=data.augmented_images, tokens=data.augmented_tokens)
    for always, seen in ((False, data), (True, augmented)):
        first, second = tiny_model("vit").double(), tiny_model("vit").double()
        minimized = objective(always_augments=always)
        minimized.start_epoch(first, 0)
        # Views are made only if they are used.
        assert minimized.needs_views == always
        loss = minimized(first, data)
        loss.total.backward()
        expected = ContrastiveObjective()(second, seen)
        expected.total.backward()
        assert set(loss.terms) == {"clip_loss"}
        assert torch.equal(loss.total, expected.total)
        # The text tower learns again.
        for name, parameter in first.named_parameters():
            assert torch.equal(parameter.grad, second.get_parameter(name).grad)
        assert minimized.count.item() == 0


def test_every_so_manieth_epoch_matches() -> None:
    model, minimized = tiny_model("vit"), objective(break_epoch=3)
    # Captions must be augmented if any epoch wants them, which is asked before the first one.
    assert minimized.needs_views
    matching = []
    for epoch in range(9):
        minimized.start_epoch(model, epoch)
        matching.append(minimized.needs_views)
    # Counted from 1, as in the public code: the third, sixth and ninth.
    assert [epoch + 1 for epoch in range(9) if matching[epoch]] == [3, 6, 9]


def test_the_bank_does_not_depend_on_the_order_of_a_batch() -> None:
    model, data, order = tiny_model("vit").double(), batch(), torch.tensor([2, 0, 3, 1])
    first, second = objective(6, break_epoch=1), objective(6, break_epoch=1)
    assert data.augmented_images is not None
    assert data.augmented_tokens is not None
    for _ in range(2):
        first(model, data)
        second(
            model,
            replace(
                data,
                samples=order,
                augmented_images=data.augmented_images[order],
                augmented_tokens=data.augmented_tokens[order],
            ),
        )
    # Two workers hold a batch in another order than one; a bank that drops half of it must drop the same half.
    torch.testing.assert_close(first.bank, second.bank, rtol=0, atol=1e-12)
