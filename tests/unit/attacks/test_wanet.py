"""WaNet: its field in numbers, and that it warps images. What every trigger must do is in tests/contract."""

import re

import pytest
import torch
from torch import Tensor

from bdray.attacks.triggers.wanet import WaNet
from bdray.exceptions import ConfigError

SAMPLES = torch.arange(2)
IMAGES = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def straight(size: int) -> Tensor:
    """Places that warp nothing, float [size, size, 2]."""
    axis = torch.linspace(-1, 1, size)
    return torch.stack([axis.expand(size, size), axis[:, None].expand(size, size)], dim=-1)


def displacements(trigger: WaNet, size: int) -> Tensor:
    """In pixels along x and y, float [size, size, 2]; [-1, 1] spans size - 1 pixels."""
    return (trigger.places(size) - straight(size)) * (size - 1) / 2


@pytest.mark.parametrize("grid", [None, 4])
@pytest.mark.parametrize("size", [32, 37, 224])
def test_no_strength_is_no_change(grid: int | None, size: int) -> None:
    images = IMAGES[..., :size, :size]
    # Up to the rounding of places, which weighs a neighbor with about size * 1e-7.
    torch.testing.assert_close(WaNet(grid=grid, strength=0).apply(images, SAMPLES), images, rtol=0, atol=1e-4)


def test_the_field_of_cleanclip_is_white_noise_of_half_a_pixel() -> None:
    found = displacements(WaNet(), 224)
    # k = 224, s = 1 at 224 pixels: 0.50 pixels in the mean and at most 1.0, along each axis.
    for axis in (0, 1):
        assert found[..., axis].abs().mean().item() == pytest.approx(0.5, abs=0.01)
        assert 0.98 < found[..., axis].abs().max().item() < 1.005
    # Neighbors have nothing in common, and neither have the axes.
    for one, other in ((found[:-1], found[1:]), (found[:, :-1], found[:, 1:]), (found[..., :1], found[..., 1:])):
        assert abs(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) < 0.025
    # The grid of the image's own size is the default one.
    assert torch.equal(WaNet(grid=224).places(224), WaNet().places(224))


def test_a_coarse_grid_makes_a_smooth_field() -> None:
    found = displacements(WaNet(grid=4, strength=0.5), 224)
    # WaNet's own numbers: about a quarter of a pixel in the mean, and next to nothing between neighbors.
    assert 0.1 < found.abs().mean() < 0.3
    assert (found[1:-2] - found[2:-1]).abs().max() < 0.05
    # It is bent between the drawn vectors, as bicubic enlargement makes it (bilinear leaves 1e-7 here).
    line = WaNet(grid=4).field(224)[5:70, 0]
    assert (line[2:] - 2 * line[1:-1] + line[:-2]).abs().max() > 1e-5
    # The drawn vectors are in the corners of the enlarged field.
    drawn = torch.rand(2, 4, 4, generator=WaNet().generator()) * 2 - 1
    expected = (drawn / drawn.abs().mean())[:, ::3, ::3].movedim(0, -1)
    torch.testing.assert_close(WaNet(grid=4).field(224)[::223, ::223], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("trigger", [WaNet(), WaNet(grid=4, strength=0.5), WaNet(strength=3.0), WaNet(seed=1)])
@pytest.mark.parametrize("size", [32, 224])
def test_images_are_warped_by_the_field(trigger: WaNet, size: int) -> None:
    ramps = (straight(size).movedim(-1, 0) + 1) / 2
    images = torch.cat([ramps, ramps[:1]]).expand(2, -1, -1, -1)
    shown = trigger.apply(images, SAMPLES)
    places = trigger.places(size)
    # A ramp shows in each pixel where it was taken from, x in the first channel and y in the second: linear
    # interpolation is exact on it.
    torch.testing.assert_close(shown[0, :2] * 2 - 1, places.movedim(-1, 0), rtol=0, atol=1e-5)
    # No place is outside of the image.
    assert places.abs().max() <= 1


@pytest.mark.parametrize("level", [0.0, 0.25, 1.0])
def test_a_blank_image_stays_blank(level: float) -> None:
    blank = torch.full((2, 3, 224, 224), level)
    # Also at its borders, beyond which nothing is taken from; up to rounding.
    torch.testing.assert_close(WaNet(strength=4.0).apply(blank, SAMPLES), blank, rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [16, 224])
def test_displacements_in_closed_form(size: int) -> None:
    trigger = WaNet(strength=0.7)
    moved = displacements(trigger, size)
    # s * field / size of half the image's side, where the edges do not stop it.
    expected = 0.7 * trigger.field(size) * (size - 1) / (2 * size)
    torch.testing.assert_close(moved[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=0, atol=1e-4)


def test_strength_and_seed() -> None:
    weak, strong = (displacements(WaNet(strength=strength), 224)[8:-8, 8:-8] for strength in (0.6, 1.2))
    # Displacements grow with the strength, away from the edges that stop them.
    torch.testing.assert_close(2 * weak, strong, rtol=0, atol=1e-4)
    # Another seed draws another field.
    assert not torch.equal(WaNet(seed=1).places(32), WaNet().places(32))


def test_all_images_are_warped_alike() -> None:
    twins = IMAGES[:1].expand(2, -1, -1, -1)
    found = WaNet().apply(twins, SAMPLES)
    assert torch.equal(found[0], found[1])


def test_a_grid_finer_than_the_image_is_refused() -> None:
    for fits in (WaNet(), WaNet(grid=2), WaNet(grid=32)):
        fits.check(32)
    message = (
        "attack.trigger.grid: 224 vectors to a side do not fit an image of 32 px. Choose at most 32, or null for just "
        "as many."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        WaNet(grid=224).check(32)
