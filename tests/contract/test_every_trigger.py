"""What every trigger keeps: a pure function from images to images that changes them.

Triggers that are learned are learned first, on a few scenes: bdray.testing.learned.
"""

import os
import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bdray.attacks.triggers.base import Trigger
from bdray.attacks.triggers.learned import LearnedTrigger
from bdray.data.scenes import render
from bdray.evaluation.zero_shot import EVALUATION_SAMPLES
from bdray.testing import example, learned

SIZES = (32, 224)
SAMPLES = torch.tensor([11, 3, 3, 250_000, EVALUATION_SAMPLES])
TEXTURED = [0, 1, 4]


def images(size: int) -> Tensor:
    """Scenes, black, white and noise, float [5, 3, size, size] in [0, 1]."""
    pixels = torch.from_numpy(render(0, "test", 0)[0][:2]).float() / 255
    scenes = torch.nn.functional.interpolate(pixels, size)
    noise = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    return torch.cat([scenes, torch.zeros(1, 3, size, size), torch.ones(1, 3, size, size), noise])


MEMBERS = Trigger.members()
every_trigger = pytest.mark.parametrize("member", [pytest.param(member, id=name) for name, member in MEMBERS.items()])
every_size = pytest.mark.parametrize("size", SIZES)


@cache
def make(member: type[Trigger], size: int = 32, seed: int = 0) -> Trigger:
    trigger = example(member, seed=seed)
    assert isinstance(trigger, Trigger)
    return learned(trigger, size)


def made_again(member: type[Trigger], size: int) -> Trigger:
    """Another object that is the same trigger."""
    trigger, first = example(member), make(member, size)
    assert isinstance(trigger, Trigger)
    if isinstance(trigger, LearnedTrigger) and isinstance(first, LearnedTrigger):
        return trigger.with_state(first.state)
    return trigger


@every_trigger
@every_size
def test_it_returns_images(member: type[Trigger], size: int) -> None:
    trigger, given = make(member, size), images(size)
    trigger.check(size)
    before = given.clone()
    found = trigger.apply(given, SAMPLES)
    # As many, as large, of the same type, with values of pixels.
    assert found.shape == given.shape
    assert found.dtype == given.dtype
    assert found.min() >= 0
    assert found.max() <= 1
    # Every image that shows something is changed (a warp leaves a blank one blank),
    assert (found != given).flatten(1).any(1)[TEXTURED].all()
    # and none in place: the clean twin is still needed.
    assert torch.equal(given, before)
    assert found.data_ptr() != given.data_ptr()


@every_trigger
@every_size
def test_it_depends_on_image_and_sample_alone(member: type[Trigger], size: int) -> None:
    trigger, given = make(member, size), images(size)
    found = trigger.apply(given, SAMPLES)
    # The same in another object, in another order and alone: in every epoch and in every batch.
    assert torch.equal(made_again(member, size).apply(given, SAMPLES), found)
    assert torch.equal(trigger.apply(given.flip(0), SAMPLES.flip(0)).flip(0), found)
    for row in range(len(given)):
        assert torch.equal(trigger.apply(given[row, None], SAMPLES[row, None])[0], found[row])
    # No image is none: a batch need not hold poison.
    assert trigger.apply(given[:0], SAMPLES[:0]).shape == (0, 3, size, size)


@pytest.fixture(scope="module")
def from_a_worker(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Tensor]:
    """What a process of its own, with more threads, makes of the same images."""
    folder = tmp_path_factory.mktemp("worker")
    jobs = {(name, size): (make(member, size), images(size)) for name, member in MEMBERS.items() for size in SIZES}
    (folder / "jobs").write_bytes(pickle.dumps((jobs, SAMPLES)))
    code = (
        "import pickle, sys, torch; torch.set_num_threads(2); "
        "jobs, samples = pickle.load(open(sys.argv[1], 'rb')); "
        "torch.save({key: trigger.apply(given, samples) for key, (trigger, given) in jobs.items()}, sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(folder / "jobs"), str(folder / "found")]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONHASHSEED": "1"})
    found: dict[tuple[str, int], Tensor] = torch.load(folder / "found")
    return found


@every_trigger
@every_size
def test_it_is_the_same_on_every_worker(
    member: type[Trigger], size: int, from_a_worker: dict[tuple[str, int], Tensor]
) -> None:
    trigger = make(member, size)
    # It can be sent to another process, and does there to the bit what it does here.
    assert torch.equal(from_a_worker[trigger.type, size], trigger.apply(images(size), SAMPLES))


@every_trigger
def test_it_uses_no_global_randomness(member: type[Trigger]) -> None:
    trigger, given = make(member), images(32)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    found = trigger.apply(given, SAMPLES)
    # The global generator is neither moved
    assert torch.equal(torch.get_rng_state(), before)
    # nor asked.
    torch.manual_seed(1)
    assert torch.equal(trigger.apply(given, SAMPLES), found)


@every_trigger
@pytest.mark.parametrize("seed", [1, 2**32, 2**63])
def test_every_seed_works(member: type[Trigger], seed: int) -> None:
    trigger = make(member, seed=seed)
    found = trigger.apply(images(32), SAMPLES)
    # No seed is too large for its generators, and what it makes is still an image.
    assert found.isfinite().all()
    assert torch.equal(trigger.apply(images(32), SAMPLES), found)


@every_trigger
@every_size
def test_it_works_on_any_layout_in_memory(member: type[Trigger], size: int) -> None:
    trigger, given = make(member, size), images(size)
    laid_out = given.to(memory_format=torch.channels_last)
    found = trigger.apply(laid_out, SAMPLES)
    # Training and evaluation may hold images channels-last.
    assert torch.equal(found, trigger.apply(given, SAMPLES))
    assert torch.equal(laid_out, given)


@every_trigger
def test_it_works_where_no_gradients_are_kept(member: type[Trigger]) -> None:
    trigger, given = make(member), images(32)
    with torch.inference_mode():
        found = trigger.apply(given, SAMPLES)
    # Evaluation asks in inference mode, and nothing that it leaves behind is in the way of a later use.
    assert torch.equal(found, trigger.apply(given, SAMPLES))
    assert trigger.apply(given.clone().requires_grad_(), SAMPLES).isfinite().all()


@every_trigger
def test_its_identity_is_plain_and_says_all(member: type[Trigger]) -> None:
    first, other = make(member).identity(), make(member, seed=1).identity()
    # Plain JSON, the same for the same trigger, and another one for another.
    assert first == made_again(member, 32).identity()
    assert first != other
