"""Patches: which pixels they cover. What every trigger must do is in tests/contract."""

import math
import re

import pytest
import torch
from torch import Tensor

from bdray.attacks.triggers.patch import Location, paste
from bdray.attacks.triggers.yellow import Yellow
from bdray.exceptions import ConfigError

SAMPLES = torch.arange(20_000)


def covered(size: int, location: Location, image_size: int, samples: Tensor = SAMPLES, seed: int = 0) -> Tensor:
    """Which pixels of each image the patch covers, bool [N, H, W]."""
    black = torch.zeros(1, 3, image_size, image_size).expand(len(samples), -1, -1, -1)
    return Yellow(size=size, location=location, seed=seed).apply(black, samples).any(1)


@pytest.mark.parametrize(("image_size", "size"), [(32, 6), (224, 16), (9, 4), (8, 8)])
def test_fixed_places(image_size: int, size: int) -> None:
    last = image_size - size
    middle = last // 2
    corners = [(0, 0), (0, last), (last, 0), (last, last)]
    expected: dict[Location, list[tuple[int, int]]] = {
        "corner": [(last, last)],
        "four_corners": corners,
        "center": [(middle, middle)],
    }
    for location, places in expected.items():
        mask = torch.zeros(image_size, image_size, dtype=torch.bool)
        for top, left in places:
            mask[top : top + size, left : left + size] = True
        # All these pixels and no others, in every image.
        assert torch.equal(covered(size, location, image_size, SAMPLES[:3]), mask.expand(3, -1, -1))


def test_the_papers_center_is_that_of_the_public_code() -> None:
    rows, columns = covered(16, "center", 224, SAMPLES[:1])[0].nonzero(as_tuple=True)
    # BadCLIP's 16 pixels go to rows and columns 104 to 119 of 224.
    assert [int(bound) for found in (rows, columns) for bound in (found.min(), found.max())] == [104, 119, 104, 119]


@pytest.mark.parametrize(("location", "last"), [("random", 12), ("random_cleanclip_repo", 11)])
def test_random_places_are_uniform(location: Location, last: int) -> None:
    found = covered(4, location, 16)
    # A whole patch in every image.
    assert (found.sum((1, 2)) == 16).all()
    tops, lefts = found.any(2).int().argmax(1), found.any(1).int().argmax(1)
    bottoms = 15 - found.any(2).flip(1).int().argmax(1)
    assert torch.equal(bottoms - tops, torch.full_like(tops, 3))
    # All places are taken, equally often (chi-squared within 6 standard deviations), and no others: row and column
    # 15 stay free under the public code's rule.
    counts = torch.bincount(tops * (last + 1) + lefts, minlength=(last + 1) ** 2).double()
    assert int(tops.max()) == int(lefts.max()) == last
    expected = len(SAMPLES) / (last + 1) ** 2
    assert ((counts - expected) ** 2 / expected).sum() < (last + 1) ** 2 + 6 * math.sqrt(2 * (last + 1) ** 2)
    # Row and column know nothing of each other.
    assert abs(torch.corrcoef(torch.stack([tops, lefts]).double())[0, 1]) < 5 / math.sqrt(len(SAMPLES))


def test_random_places_go_by_seed_and_sample() -> None:
    samples = torch.tensor([5, 9, 5])
    first = covered(4, "random", 224, samples)
    # The same sample has one place, whatever its position in the batch; another seed moves it.
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(covered(4, "random", 224, samples, seed=1)[0], first[0])


def test_paste_gives_each_image_its_own_patch() -> None:
    images, patches = torch.zeros(3, 3, 8, 8), torch.rand(3, 3, 2, 2) + 1
    corners = torch.tensor([[0, 0], [6, 1], [3, 6]])
    paste(images, patches, corners)
    for image, patch, (top, left) in zip(images, patches, corners.tolist(), strict=True):
        # The patch is where it should be, upright, its channels in order, and nothing else has changed.
        assert torch.equal(image[:, top : top + 2, left : left + 2], patch)
        assert image.count_nonzero() == patch.numel()


@pytest.mark.parametrize("location", ["corner", "four_corners", "random"])
def test_patches_can_be_learned(location: Location) -> None:
    patch = torch.rand(3, 4, 4, requires_grad=True)
    images = torch.rand(5, 3, 16, 16)
    Yellow(size=4, location=location).place(images, SAMPLES[:5], patch).sum().backward()
    # Every image and place that shows the patch adds to its gradient.
    assert patch.grad is not None
    assert torch.equal(patch.grad, torch.full((3, 4, 4), 20.0 if location == "four_corners" else 5.0))


def test_what_does_not_fit_is_refused() -> None:
    for fits in (
        Yellow(size=32),
        Yellow(size=32, location="corner"),
        Yellow(size=31, location="random_cleanclip_repo"),
    ):
        fits.check(32)
    message = "attack.trigger.size: a patch of 33 px does not fit an image of 32 px. Choose at most 32."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Yellow(size=33, location="center").check(32)
    # The public code's rule leaves no place for a patch as large as the image.
    with pytest.raises(ConfigError, match=r"^attack\.trigger\.location: random_cleanclip_repo leaves"):
        Yellow(size=32, location="random_cleanclip_repo").check(32)
