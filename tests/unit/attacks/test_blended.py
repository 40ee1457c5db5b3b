"""Blended: the mixture, and the kinds of pattern. What every trigger must do is in tests/contract."""

import hashlib
import math
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

from bdray.attacks.triggers.blended import Blended
from bdray.exceptions import ConfigError

IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SAMPLES = torch.tensor([3, 1, 4, 1, 5, 9])
PIXELS = np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.fromarray(PIXELS).save(tmp_path / "picture.png")
    return str(tmp_path / "picture.png")


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.5, 1.0])
def test_the_mixture_is_that_of_the_paper(alpha: float) -> None:
    fixed = Blended(alpha=alpha, noise="fixed")
    expected = (1 - alpha) * IMAGES + alpha * fixed.pattern(32)
    # (1 - alpha) x + alpha n, from nothing at all to nothing but noise.
    torch.testing.assert_close(fixed.apply(IMAGES, SAMPLES), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["fixed", "per_image"])
def test_mean_and_spread_of_the_mixture(kind: Literal["fixed", "per_image"]) -> None:
    gray = torch.full((6, 3, 224, 224), 0.3)
    shown = Blended(alpha=0.2, noise=kind).apply(gray, SAMPLES)
    # n is uniform in [0, 1): mean 0.8 * 0.3 + 0.2 / 2, spread 0.2 / sqrt(12), from 0.24 to 0.44.
    assert shown.mean().item() == pytest.approx(0.34, abs=1e-3)
    assert shown.std().item() == pytest.approx(0.2 / math.sqrt(12), rel=0.01)
    assert shown.min().item() == pytest.approx(0.24, abs=1e-4)
    assert shown.max().item() == pytest.approx(0.44, abs=1e-4)


@pytest.mark.parametrize("alpha", [0.02, 0.2, 1.0])
def test_how_much_it_can_change(alpha: float) -> None:
    images = torch.cat([IMAGES, torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)])
    for trigger in (Blended(alpha=alpha, noise="fixed"), Blended(alpha=alpha)):
        error = (trigger.apply(images, torch.arange(8)) - images).square().mean((1, 2, 3))
        # |alpha (n - x)| is at most alpha, so the PSNR is at least -20 log10(alpha): 14.0 dB at 0.2.
        assert (-10 * error.log10()).min() > -20 * math.log10(alpha)
        # On black and white its mean square is alpha^2 / 3, which is 18.8 dB at 0.2.
        assert error[-2:].sqrt().tolist() == pytest.approx([alpha / math.sqrt(3)] * 2, rel=0.05)


def test_fixed_noise_is_one_pattern_for_all() -> None:
    trigger = Blended(alpha=1.0, noise="fixed")
    assert torch.equal(trigger.apply(IMAGES, SAMPLES), trigger.pattern(32).expand_as(IMAGES))
    # Another seed, another pattern.
    assert not torch.equal(Blended(noise="fixed", seed=1).pattern(32), trigger.pattern(32))


def test_the_fixed_pattern_never_changes() -> None:
    # Those of version 0.1, to which results belong that people have.
    for cell, values in (
        (1, [0.130161, 0.8172805, 0.551464, 0.9509691, 0.2640416, 0.9716169, 0.9836966, 0.1156736, 0.8305528]),
        (2, [0.130161, 0.130161, 0.8172805, 0.130161, 0.130161, 0.8172805, 0.551464, 0.551464, 0.9509691]),
    ):
        found = Blended(noise="fixed", cell=cell).pattern(3)[0].flatten()
        torch.testing.assert_close(found, torch.tensor(values), rtol=0, atol=1e-6)


def test_noise_per_image_goes_by_the_sample() -> None:
    triggered = Blended(alpha=1.0).apply(IMAGES, SAMPLES)
    # The same sample (1 is there twice) has the same noise, every other one its own, and so has every seed.
    assert torch.equal(triggered[1], triggered[3])
    assert len(triggered.flatten(1).unique(dim=0)) == 5
    assert not torch.equal(Blended(alpha=1.0, seed=1).apply(IMAGES, SAMPLES)[0], triggered[0])


@pytest.mark.parametrize("kind", ["fixed", "per_image"])
def test_cells_share_one_color(kind: Literal["fixed", "per_image"]) -> None:
    noise = Blended(alpha=1.0, cell=4, noise=kind).apply(IMAGES[:1, :, :30, :30], SAMPLES[:1])[0]
    # 30 is no multiple of 4: the last cells are cut.
    assert (noise[:, :4, :4].flatten(1) == noise[:, :1, 0]).all()
    assert (noise[:, 28:, 28:].flatten(1) == noise[:, 28:29, 28]).all()
    assert len(noise.flatten(1).unique(dim=1).T) == 8 * 8


def test_a_picture_is_blended_in(picture: str) -> None:
    trigger = Blended(alpha=0.2, noise="image", image=picture)
    trigger.check(32)
    shown = torch.from_numpy(PIXELS).movedim(-1, 0) / 255
    # Upright, its channels in order, the same on every image.
    torch.testing.assert_close(trigger.apply(IMAGES, SAMPLES), 0.8 * IMAGES + 0.2 * shown, rtol=0, atol=1e-6)
    # It is resized to what it is blended with.
    assert trigger.apply(torch.rand(1, 3, 224, 224), SAMPLES[:1]).shape == (1, 3, 224, 224)


def test_the_identity_tells_what_the_picture_shows(picture: str) -> None:
    trigger = Blended(noise="image", image=picture)
    before = trigger.identity()
    assert before["image_sha256"] == hashlib.sha256(Path(picture).read_bytes()).hexdigest()
    # Another picture under the same name is another trigger, and is seen.
    first = trigger.apply(IMAGES, SAMPLES)
    Image.fromarray(255 - PIXELS).save(picture)
    assert trigger.identity() != before
    assert not torch.equal(trigger.apply(IMAGES, SAMPLES), first)
    # Without a picture the fields say all.
    assert "image_sha256" not in Blended().identity()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"noise": "image"}, "attack.trigger.image: noise=image needs the file of a picture."),
        (
            {"image": "x.png"},
            "attack.trigger.image: has no effect with noise=per_image. Choose noise=image, or leave it out.",
        ),
        (
            {"noise": "image", "image": "x.png", "cell": 4},
            "attack.trigger.cell: 4 has no effect with noise=image. Leave it out.",
        ),
        ({"noise": "image", "image": "no/x.png"}, "attack.trigger.image: there is no file 'no/x.png'."),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Blended(**fields).check(32)
