"""Yellow: its color. Where patches go is in test_patch.py, what every trigger must do in tests/contract."""

import math

import pytest
import torch

from bdray.attacks.triggers.yellow import Yellow


def test_the_patch_is_yellow() -> None:
    triggered = Yellow(size=16, location="corner").apply(torch.full((2, 3, 224, 224), 0.5), torch.arange(2))
    # Red and green, no blue: (1, 1, 0).
    for channel, level in enumerate((1.0, 1.0, 0.0)):
        assert (triggered[:, channel, 208:, 208:] == level).all()
    # Nothing else changes.
    assert (triggered != 0.5).sum() == 2 * 3 * 16 * 16


def test_how_much_it_can_change() -> None:
    images = torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(1, 3, 224, 224)
    error = (Yellow(size=16).apply(images, torch.arange(1)) - images).square().mean().item()
    # On blue every value of the patch is off by 1, the most possible: PSNR = -20 log10(16 / 224) = 22.9 dB.
    assert -10 * math.log10(error) == pytest.approx(-20 * math.log10(16 / 224))
