"""BadNet: what the patch shows. Where it goes is in test_patch.py, what every trigger must do in tests/contract."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bdray.attacks.triggers.badnet import BadNet

SAMPLES = torch.arange(40)


def gray(level: float = 0.5, size: int = 32) -> Tensor:
    return torch.full((len(SAMPLES), 3, size, size), level)


def patches(images: Tensor, **fields: Any) -> Tensor:
    """What a patch in the corner shows on each image, float [N, 3, size, size]."""
    trigger = BadNet(location="corner", **fields)
    return trigger.apply(images, SAMPLES)[..., -trigger.size :, -trigger.size :]


def raw(size: int, seed: int = 0) -> Tensor:
    """The Gaussian noise behind a fixed pattern of 1-pixel cells."""
    return torch.randn(3, size, size, generator=BadNet(seed=seed).generator())


def test_a_fixed_pattern() -> None:
    for location in ("corner", "random"):
        trigger = BadNet(size=32, location=location)
        # One pattern for all images, to the bit, also where it covers all of them.
        assert torch.equal(trigger.apply(gray(), SAMPLES), trigger.fixed_pattern().expand(len(SAMPLES), -1, -1, -1))
    # N(0, 1), clamped; another seed, another pattern.
    assert torch.equal(BadNet(size=6, seed=3).fixed_pattern(), raw(6, seed=3).clamp(0, 1))
    assert not torch.equal(BadNet(seed=1).fixed_pattern(), BadNet().fixed_pattern())


def test_the_fixed_pattern_never_changes() -> None:
    # Those of version 0.1, to which results belong that people have.
    expected = {
        (0, 1): [0.2560221, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.1016354, 0.0],
        (0, 2): [0.9956191, 0.9956191, 0.2642377, 0.9956191, 0.9956191, 0.2642377, 1.0, 1.0, 1.0],
    }
    for (seed, cell), values in expected.items():
        found = BadNet(size=3, cell=cell, seed=seed).fixed_pattern()[0].flatten()
        torch.testing.assert_close(found, torch.tensor(values), rtol=0, atol=1e-6)


def test_a_pattern_per_image_goes_by_the_sample() -> None:
    found = patches(gray(), size=8, pattern="per_image")
    # All differ, and a sample keeps its own, wherever its patch is put.
    assert len(found.flatten(1).unique(dim=0)) == len(SAMPLES)
    trigger = BadNet(size=32, pattern="per_image")
    again = trigger.apply(gray(), SAMPLES.flip(0)).flip(0)
    assert torch.equal(again, trigger.apply(gray(), SAMPLES))
    assert torch.equal(again, patches(gray(), size=32, pattern="per_image"))


@pytest.mark.parametrize("pattern", ["fixed", "per_image"])
@pytest.mark.parametrize("level", [0.0, 0.5, 0.9])
def test_values_are_clamped_gaussian_noise(pattern: str, level: float) -> None:
    mean = "image" if level else "zero"
    found = patches(gray(level, 64), size=64, pattern=pattern, mean=mean)
    normal = NormalDist(level)
    # What is below 0 and above 1 becomes 0 and 1, in the shares of N(mean, 1); what is between stays as it is.
    assert (found == 0).double().mean().item() == pytest.approx(normal.cdf(0), abs=0.015)
    assert (found == 1).double().mean().item() == pytest.approx(1 - normal.cdf(1), abs=0.015)
    median = 0.5 * (normal.cdf(1) + normal.cdf(0))
    assert (found < normal.inv_cdf(median)).double().mean().item() == pytest.approx(median, abs=0.015)


def test_the_mean_is_that_of_each_channel_of_each_image() -> None:
    images = torch.rand(len(SAMPLES), 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images[:, 0] *= 0.3
    images[7] *= 0.1
    found = patches(images, size=6, mean="image")
    expected = (raw(6) + images.double().mean((2, 3), keepdim=True).float()).clamp(0, 1)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("mean", ["zero", "image"])
def test_wrapped_values_are_those_of_a_conversion_to_8_bits(mean: str) -> None:
    level = 0.25 if mean == "image" else 0.0
    found = patches(gray(level), size=16, mean=mean, values="wrap_uint8")[0]
    # As C converts: towards zero to a whole number, of which the last 8 bits are kept (-0.5 is -127, is 129).
    whole = np.trunc((raw(16) + level).numpy() * np.float32(255)).astype(np.int64)
    assert np.array_equal((found * 255).round().numpy(), whole.astype(np.uint8))
    assert np.array_equal(np.array([-127]).astype(np.uint8), [129])
    assert (whole < -255).any()


def test_most_values_of_the_public_code_wrap() -> None:
    fields: dict[str, Any] = {"size": 64, "pattern": "per_image", "mean": "image"}
    clamped = patches(gray(0.5, 64), **fields)
    wrapped = patches(gray(0.5, 64), **fields, values="wrap_uint8")
    # Those from 256/255 up and from -1/255 down: for a gray image 61%. (One in 256 of them wraps to what it is clamped
    # to; all others only lose what is below 1/255.)
    outside = 2 * NormalDist(0.5).cdf(-1 / 255)
    assert outside == pytest.approx(0.614, abs=0.001)
    share = ((wrapped - clamped).abs() > 1.01 / 255).double().mean().item()
    assert share == pytest.approx(outside * 255 / 256, abs=0.004)
    # The image around the patch is left alone.
    trigger = BadNet(location="corner", **{**fields, "size": 16}, values="wrap_uint8")
    assert (trigger.apply(gray(0.3), SAMPLES)[:, :, :16] == 0.3).all()


@pytest.mark.parametrize(("size", "cell", "colors"), [(6, 1, 36), (6, 2, 9), (6, 4, 4), (5, 2, 9), (6, 99, 1)])
@pytest.mark.parametrize("pattern", ["fixed", "per_image"])
def test_cells_share_one_color(pattern: str, size: int, cell: int, colors: int) -> None:
    shown = patches(gray(), size=size, cell=cell, seed=3, pattern=pattern)[0]
    # Cells that do not fit are cut.
    for row in range(0, size, cell):
        for column in range(0, size, cell):
            square = shown[:, row : row + cell, column : column + cell].flatten(1)
            assert (square == square[:, :1]).all()
    assert len(shown.flatten(1).unique(dim=1).T) <= colors


def test_how_much_it_can_change() -> None:
    images = torch.rand(len(SAMPLES), 3, 224, 224, generator=torch.Generator().manual_seed(0))
    public_code = BadNet(pattern="per_image", mean="image", values="wrap_uint8", location="random_cleanclip_repo")
    for trigger, places in ((BadNet(), 1), (public_code, 1), (BadNet(location="four_corners"), 4)):
        error = (trigger.apply(images, SAMPLES) - images).square().mean((1, 2, 3))
        # No value is off by more than 1, in 256 of 50176 pixels for each place: PSNR of at least 22.9 dB for one.
        assert (-10 * error.log10()).min() >= -10 * math.log10(places * 16**2 / 224**2)
