"""Second views: a pure function of (image, seed, epoch, sample), computed once for all trials that need them."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bdray.testing import tiny_scenes
from bdray.training import views
from bdray.training.views import Policy, Views, augment, roclip

COUNT = 12
POLICIES = get_args(Policy)
every_policy = pytest.mark.parametrize("policy", POLICIES)


@pytest.fixture(scope="module")
def images(cache: Path) -> NDArray[np.uint8]:
    """[COUNT, 3, 32, 32]"""
    return np.array(tiny_scenes().load("train", cache).images[:COUNT])


@every_policy
def test_a_view_does_not_depend_on_its_batch(policy: Policy, images: NDArray[np.uint8]) -> None:
    pixels, samples = torch.from_numpy(images), torch.arange(COUNT)
    found = augment(pixels, seed=0, epoch=0, samples=samples, policy=policy)
    # Alone, in another order, or among others: the same view.
    chosen = torch.tensor([7, 3, 11])
    assert torch.equal(augment(pixels[chosen], 0, 0, samples[chosen], policy), found[chosen])
    # Views are images like the originals, and most differ from them.
    assert found.shape == pixels.shape
    assert found.dtype == torch.uint8
    assert (found != pixels).flatten(1).any(1).float().mean() > 0.5
    # The originals are left alone.
    assert torch.equal(pixels, torch.from_numpy(images))


@every_policy
def test_every_sample_epoch_and_seed_draws_anew(policy: Policy, images: NDArray[np.uint8]) -> None:
    pixels, samples = torch.from_numpy(images[:1]).expand(COUNT, -1, -1, -1), torch.arange(COUNT)
    found = augment(pixels, 0, 0, samples, policy)
    # The same image as another sample gets another policy.
    assert len(found.unique(dim=0)) > COUNT / 2
    # So it does in every epoch and under every seed, however large; torch hears the lowest 32 bits of a seed only.
    others = [augment(pixels, 0, epoch, samples, policy) for epoch in (1, 2, 16, 32, 4096)]
    others += [augment(pixels, seed, 0, samples, policy) for seed in (1, 2, 256, 2**24, 2**32, 20260101, 2**63)]
    assert not any(torch.equal(first, second) for first in [found, *others] for second in others if first is not second)


def test_views_are_shared_through_files(
    images: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = np.array([2, 5, 9])
    expected = Views(images, seed=3).batch(4, chosen)
    # The first to ask writes the whole epoch, in one file that appears whole.
    assert torch.equal(Views(images, 3, tmp_path).batch(4, chosen), expected)
    assert len(list(tmp_path.glob("*.npy"))) == 1

    def forbidden(*arguments: object) -> None:
        raise AssertionError("augmented what is in the cache")

    monkeypatch.setattr(views, "augment", forbidden)
    # The next ones read it.
    assert torch.equal(Views(images, 3, tmp_path).batch(4, chosen), expected)
    # Another epoch, seed or set of images is another file.
    for other in (Views(images, 3, tmp_path), Views(images, 2, tmp_path), Views(images[::-1].copy(), 3, tmp_path)):
        with pytest.raises(AssertionError, match="in the cache"):
            other.batch(5 if other.seed == 3 and other.images is images else 4, chosen)


def test_policies_have_files_of_their_own(images: NDArray[np.uint8], tmp_path: Path) -> None:
    chosen = np.array([2, 5, 9])
    for _ in range(2):  # written, then read
        found = [Views(images, 3, tmp_path, policy).batch(4, chosen) for policy in POLICIES]
        assert not torch.equal(*found)
    assert len(list(tmp_path.glob("*.npy"))) == len(POLICIES)


def test_roclips_blur_shrinks_with_the_image() -> None:
    kernels = {}
    for size in (224, 64, 32, 8):
        blur = list(roclip(size, size).transforms)[-1]  # type: ignore[attr-defined]
        kernels[size] = (blur.kernel_size[0], *blur.sigma)
        view = augment(torch.zeros(1, 3, size, size, dtype=torch.uint8), 0, 0, torch.arange(1), "roclip")
        # Views have the size of the image, whatever was cropped.
        assert view.shape == (1, 3, size, size)
    # At 224 pixels the public code's; at 32 a seventh of that; odd and never below 3.
    assert kernels[224] == pytest.approx((21, 0.1, 2.0))
    assert kernels[32] == pytest.approx((3, 0.1 / 7, 2.0 / 7))
    assert kernels[64][0] == 5
    assert kernels[8][0] == 3


def test_large_sets_are_not_cached(images: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MAX_CACHED_BYTES", images.nbytes - 1)
    chosen = np.array([0, 3])
    # Same views, no file.
    assert torch.equal(Views(images, 0, tmp_path).batch(0, chosen), Views(images, 0).batch(0, chosen))
    assert not list(tmp_path.iterdir())
