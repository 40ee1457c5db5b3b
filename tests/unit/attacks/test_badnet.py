"""BadNet: where the patch is and what it shows. What every trigger must do is in tests/contract."""

import pytest
import torch
from torch import Tensor

from bdray.attacks.triggers.badnet import BadNet

IMAGES = torch.full((200, 3, 32, 32), 0.5)
SAMPLES = torch.arange(200)


def corners(triggered: Tensor) -> list[tuple[int, int, int, int]]:
    """Top, left, bottom and right of what differs from gray, for each image."""
    found = []
    for image in triggered:
        rows, columns = (image != 0.5).any(0).nonzero(as_tuple=True)
        found.append((int(rows.min()), int(columns.min()), int(rows.max()), int(columns.max())))
    return found


def test_a_fixed_corner() -> None:
    trigger = BadNet(size=6, location="corner")
    triggered = trigger.apply(IMAGES, SAMPLES)
    # The patch is bottom right in every image, and is the pattern to the bit.
    assert set(corners(triggered)) == {(26, 26, 31, 31)}
    assert torch.equal(triggered[:, :, 26:, 26:], trigger.pattern().expand(200, -1, -1, -1))


def test_random_places() -> None:
    trigger = BadNet(size=6)
    triggered = trigger.apply(IMAGES, SAMPLES)
    places = corners(triggered)
    # A whole patch in every image, the same pattern everywhere.
    for image, (top, left, bottom, right) in zip(triggered, places, strict=True):
        assert (bottom - top, right - left) == (5, 5)
        assert torch.equal(image[:, top : top + 6, left : left + 6], trigger.pattern())
    # Each sample has a place of its own, from edge to edge (0 to 26).
    for side in (0, 1):
        values = [place[side] for place in places]
        assert (min(values), max(values)) == (0, 26)
        assert len(set(values)) > 20
    # Another seed moves them.
    assert corners(BadNet(size=6, seed=1).apply(IMAGES, SAMPLES)) != places


def test_the_pattern_is_clamped_gaussian_noise() -> None:
    pattern = BadNet(size=64).pattern()
    # Half of N(0, 1) is below 0, and 16% above 1.
    assert (pattern == 0).double().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (pattern == 1).double().mean().item() == pytest.approx(0.159, abs=0.02)
    assert torch.equal(pattern, BadNet(size=64).pattern())
    assert not torch.equal(pattern, BadNet(size=64, seed=1).pattern())


@pytest.mark.parametrize(("size", "cell", "colors"), [(6, 1, 36), (6, 2, 9), (6, 4, 4), (5, 2, 9), (6, 99, 1)])
def test_cells_share_one_color(size: int, cell: int, colors: int) -> None:
    pattern = BadNet(size=size, cell=cell, seed=3).pattern()
    assert pattern.shape == (3, size, size)
    # Cells that do not fit are cut.
    for row in range(0, size, cell):
        for column in range(0, size, cell):
            square = pattern[:, row : row + cell, column : column + cell].flatten(1)
            assert (square == square[:, :1]).all()
    assert len(pattern.flatten(1).unique(dim=1).T) <= colors


def test_the_largest_patch_covers_the_image() -> None:
    for location in ("corner", "random"):
        trigger = BadNet(size=32, location=location)
        assert torch.equal(trigger.apply(IMAGES[:2], SAMPLES[:2]), trigger.pattern().expand(2, -1, -1, -1))
