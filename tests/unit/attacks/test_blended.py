"""Blended: the mixture, and the two kinds of noise. What every trigger must do is in tests/contract."""

import pytest
import torch

from bdray.attacks.triggers.blended import Blended

IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SAMPLES = torch.tensor([3, 1, 4, 1, 5, 9])


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.5, 1.0])
def test_the_mixture_is_that_of_the_paper(alpha: float) -> None:
    fixed = Blended(alpha=alpha, noise="fixed")
    expected = (1 - alpha) * IMAGES + alpha * fixed.pattern(32)
    # (1 - alpha) x + alpha n, from nothing at all to nothing but noise.
    torch.testing.assert_close(fixed.apply(IMAGES, SAMPLES), expected, rtol=0, atol=1e-6)


def test_fixed_noise_is_one_pattern_for_all() -> None:
    trigger = Blended(alpha=1.0, noise="fixed")
    triggered = trigger.apply(IMAGES, SAMPLES)
    assert torch.equal(triggered, trigger.pattern(32).expand_as(IMAGES))
    assert not torch.equal(Blended(alpha=1.0, noise="fixed", seed=1).pattern(32), trigger.pattern(32))


def test_noise_per_image_goes_by_the_sample() -> None:
    triggered = Blended(alpha=1.0).apply(IMAGES, SAMPLES)
    # The same sample (1 is there twice) has the same noise, every other one its own.
    assert torch.equal(triggered[1], triggered[3])
    assert len(triggered.flatten(1).unique(dim=0)) == 5


def test_noise_is_uniform() -> None:
    noise = Blended().pattern(64)
    assert 0 <= noise.min() < 0.01
    assert 0.99 < noise.max() < 1
    assert noise.mean().item() == pytest.approx(0.5, abs=0.02)


def test_cells_share_one_color() -> None:
    noise = Blended(cell=4).pattern(30)
    assert noise.shape == (3, 30, 30)
    # 30 is no multiple of 4: the last cells are cut.
    assert (noise[:, :4, :4].flatten(1) == noise[:, :1, 0]).all()
    assert (noise[:, 28:, 28:].flatten(1) == noise[:, 28:29, 28]).all()
    assert len(noise.flatten(1).unique(dim=1).T) == 8 * 8
