"""SIG: the signal in closed form, and the two ways to add it. What every trigger must do is in tests/contract."""

import math
import re

import pytest
import torch

from bdray.attacks.triggers.sig import SIG
from bdray.exceptions import ConfigError

SAMPLES = torch.arange(2)


def signal(column: int, width: int, delta: float = 60 / 255, frequency: int = 6) -> float:
    """delta sin(2 pi j f / W)"""
    return delta * math.sin(2 * math.pi * column * frequency / width)


@pytest.mark.parametrize("width", [32, 224])
def test_the_additive_signal_in_closed_form(width: int) -> None:
    shown = SIG().apply(torch.full((2, 3, width, width), 0.5), SAMPLES)
    for column in range(width):
        # In all rows, channels and images; gray is far enough from black and white for nothing to be clipped.
        expected = torch.full((2, 3, width), 0.5 + signal(column, width))
        torch.testing.assert_close(shown[..., column], expected, rtol=0, atol=1e-6)


def test_the_blended_signal_in_closed_form() -> None:
    shown = SIG(blend="blended").apply(torch.full((2, 3, 224, 224), 0.5), SAMPLES)
    for column in range(224):
        expected = torch.full((2, 3, 224), 0.8 * 0.5 + 0.2 * signal(column, 224))
        torch.testing.assert_close(shown[..., column], expected, rtol=0, atol=1e-6)
    # A fifth of the amplitude, 12/255, on an image that is a fifth darker.
    assert shown.mean().item() == pytest.approx(0.4, abs=1e-5)
    assert (shown.max() - shown.min()).item() == pytest.approx(2 * 12 / 255, rel=0.001)


def test_values_are_clipped() -> None:
    for blend in ("additive", "blended"):
        for level in (0.0, 1.0):
            shown = SIG(blend=blend).apply(torch.full((2, 3, 224, 224), level), SAMPLES)[0, 0, 0]
            share = 1.0 if blend == "additive" else 0.2
            kept = level if blend == "additive" else 0.8 * level
            expected = [min(max(kept + share * signal(column, 224), 0.0), 1.0) for column in range(224)]
            # What would be below black or above white is black or white.
            torch.testing.assert_close(shown, torch.tensor(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("delta", "frequency"), [(60 / 255, 6), (40 / 255, 6), (0.1, 1), (0.05, 100)])
def test_amplitude_and_frequency(delta: float, frequency: int) -> None:
    images = torch.full((2, 3, 224, 224), 0.5)
    change = (SIG(delta=delta, frequency=frequency).apply(images, SAMPLES) - images)[0, 0, 0]
    spectrum = torch.fft.rfft(change.double()).abs() * 2 / 224
    # One frequency of that amplitude, and nothing else.
    assert spectrum[frequency].item() == pytest.approx(delta, rel=1e-4)
    assert (spectrum.sum() - spectrum[frequency]).item() < 1e-4


def test_how_much_it_can_change() -> None:
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    floor = -20 * math.log10(60 / 255 / math.sqrt(2))
    error = (SIG().apply(images, SAMPLES) - images).square().mean().item()
    # A sine's mean square is delta^2 / 2, and clipping only takes away from it: PSNR of at least 15.6 dB,
    assert floor == pytest.approx(15.58, abs=0.01)
    assert -10 * math.log10(error) > floor
    # which it has where nothing is clipped.
    inside = images * 0.5 + 0.25
    error = (SIG().apply(inside, SAMPLES) - inside).square().mean().item()
    assert -10 * math.log10(error) == pytest.approx(floor, abs=1e-3)


def test_more_periods_than_columns_can_show_are_refused() -> None:
    # 16 periods over 32 columns would be sampled at their zeros.
    assert SIG(frequency=16).signal(32).abs().max() < 1e-6
    SIG(frequency=15).check(32)
    message = "attack.trigger.frequency: 16 periods need more than 32 columns, but the image has 32. Choose at most 15."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        SIG(frequency=16).check(32)
    SIG(frequency=16).check(33)
