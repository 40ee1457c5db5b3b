"""What every trigger keeps: a pure function from images to images that changes them."""

import pytest
import torch
from torch import Tensor

from bdray.attacks.triggers.base import Trigger
from bdray.data.scenes import render
from bdray.testing import example

SIZES = (32, 224)
SAMPLES = torch.tensor([11, 3, 3, 250_000, 0])


def images(size: int) -> Tensor:
    """Scenes, black, white and noise, float [5, 3, size, size] in [0, 1]."""
    pixels = torch.from_numpy(render(0, "test", 0)[0][:2]).float() / 255
    scenes = torch.nn.functional.interpolate(pixels, size)
    noise = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    return torch.cat([scenes, torch.zeros(1, 3, size, size), torch.ones(1, 3, size, size), noise])


TRIGGERS = [pytest.param(member, id=name) for name, member in Trigger.members().items()]
every_trigger = pytest.mark.parametrize("member", TRIGGERS)
every_size = pytest.mark.parametrize("size", SIZES)


def make(member: type[Trigger], **fields: object) -> Trigger:
    trigger = example(member, **fields)
    assert isinstance(trigger, Trigger)
    return trigger


@every_trigger
@every_size
def test_it_returns_images(member: type[Trigger], size: int) -> None:
    trigger, given = make(member), images(size)
    trigger.check(size)
    before = given.clone()
    found = trigger.apply(given, SAMPLES)
    # As many, as large, of the same type, with values of pixels.
    assert found.shape == given.shape
    assert found.dtype == given.dtype
    assert found.min() >= 0
    assert found.max() <= 1
    # Every image is changed, and none in place: the clean twin is still needed.
    assert (found != given).flatten(1).any(1).all()
    assert torch.equal(given, before)
    assert found.data_ptr() != given.data_ptr()


@every_trigger
@every_size
def test_it_depends_on_image_and_sample_alone(member: type[Trigger], size: int) -> None:
    given = images(size)
    found = make(member).apply(given, SAMPLES)
    # The same in another object, in another order and alone: in every epoch, on every worker, in every batch.
    assert torch.equal(make(member).apply(given, SAMPLES), found)
    assert torch.equal(make(member).apply(given.flip(0), SAMPLES.flip(0)).flip(0), found)
    for row in range(len(given)):
        assert torch.equal(make(member).apply(given[row, None], SAMPLES[row, None])[0], found[row])


@every_trigger
def test_it_uses_no_global_randomness(member: type[Trigger]) -> None:
    given = images(32)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    found = make(member).apply(given, SAMPLES)
    # The global generator is neither moved
    assert torch.equal(torch.get_rng_state(), before)
    # nor asked.
    torch.manual_seed(1)
    assert torch.equal(make(member).apply(given, SAMPLES), found)


@every_trigger
@pytest.mark.parametrize("seed", [1, 2**32, 2**63])
def test_every_seed_works(member: type[Trigger], seed: int) -> None:
    found = make(member, seed=seed).apply(images(32), SAMPLES)
    assert found.isfinite().all()
    assert torch.equal(make(member, seed=seed).apply(images(32), SAMPLES), found)


@every_trigger
def test_it_works_on_any_layout_in_memory(member: type[Trigger]) -> None:
    given = images(32)
    laid_out = given.to(memory_format=torch.channels_last)
    # Training and evaluation may hold images channels-last.
    assert torch.equal(make(member).apply(laid_out, SAMPLES), make(member).apply(given, SAMPLES))
    assert torch.equal(laid_out, given)
