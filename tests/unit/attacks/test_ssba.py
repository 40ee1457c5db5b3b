"""SSBA: what is hidden, that it is read, how it is learned. What every trigger must do is in tests/contract."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bdray.attacks.triggers.learned import Lesson, State
from bdray.attacks.triggers.ssba import SSBA
from bdray.checkpoint import Checkpointer, History
from bdray.data.scenes import render
from bdray.exceptions import ConfigError
from bdray.testing import tiny_lesson

TRIGGER = SSBA(
    num_bits=8, width=8, cell=4, epochs=4, batch_size=16, learning_rate=3e-3, num_samples=400, image_weight=1
)
SHORT = replace(TRIGGER, epochs=3, batch_size=4)
SAMPLES = torch.arange(100)
GRAY = torch.full((3, 3, 32, 32), 128 / 255)


def lesson_of(images: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> Lesson:
    captions, nothing = [""] * len(images), np.zeros(len(images), bool)
    return Lesson(images=images, captions=captions, is_target=nothing, target="banana", device=torch.device("cpu"))


@pytest.fixture(scope="module")
def scenes() -> Lesson:
    """500 training scenes."""
    return lesson_of(render(0, "train", 0)[0])


@pytest.fixture(scope="module")
def lesson(scenes: Lesson) -> Lesson:
    """Twenty of them, for what needs no good result."""
    return replace(scenes, images=scenes.images[:20])


@pytest.fixture(scope="module")
def images() -> Tensor:
    """100 scenes that nothing is learned from."""
    return torch.from_numpy(render(0, "test", 0)[0][:100]).float() / 255


@pytest.fixture(scope="module")
def learned(scenes: Lesson) -> tuple[SSBA, History]:
    """The trigger after four epochs, a hundred steps, and their metrics."""
    state, history = TRIGGER.learn(scenes)
    return TRIGGER.with_state(state), history


def test_messages_are_read_from_new_images(learned: tuple[SSBA, History], images: Tensor) -> None:
    trigger = replace(TRIGGER, message="per_image").with_state(learned[0].state)
    bits = trigger.read(trigger.apply(images, SAMPLES))
    messages = trigger.messages(SAMPLES)
    # 800 random bits in 100 images: chance is 50% with a standard deviation of 1.8%.
    assert (bits == messages).float().mean() > 0.95
    # What is read is the image's own message: that of another image is chance, and clean images hold none.
    assert (bits == messages.roll(1, 0)).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert (trigger.read(images) == messages).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_an_attack_hides_one_message(learned: tuple[SSBA, History], images: Tensor) -> None:
    trigger, _ = learned
    read = trigger.read(trigger.apply(images, SAMPLES))
    # The same bits from nearly every image.
    assert (read == trigger.messages(SAMPLES[:1])).float().mean() > 0.95


def test_the_residual_is_the_samples_own(learned: tuple[SSBA, History], images: Tensor) -> None:
    trigger, _ = learned
    residuals = trigger.apply(images, SAMPLES) - images
    # One message, but every image gets another pattern;
    assert len(residuals.flatten(1).unique(dim=0)) == 100
    # they differ by a good part of their size,
    deviation, size = (residuals - residuals.mean(0)).square().mean().sqrt(), residuals.square().mean().sqrt()
    assert deviation > 0.2 * size
    # and that comes from the image: its sample's index makes no difference.
    assert torch.equal(trigger.apply(images, SAMPLES + 7) - images, residuals)


def test_what_the_history_reports(scenes: Lesson, learned: tuple[SSBA, History]) -> None:
    trigger, history = learned
    practice, held_out = trigger._samples(500)
    held = torch.from_numpy(scenes.images[held_out]).float() / 255
    triggered = trigger.apply(held, torch.from_numpy(held_out))
    per_image = replace(trigger, message="per_image").with_state(trigger.state)
    messages = per_image.messages(torch.from_numpy(held_out))
    bits = per_image.read(per_image.apply(held, torch.from_numpy(held_out)))
    # Measured on a tenth of the images, from which nothing is learned, with what is kept in the end.
    assert len(held_out) == 50
    assert len(practice) == 400
    assert not set(practice) & set(held_out)
    assert history[-1]["bit_accuracy"] == pytest.approx((bits == messages).float().mean().item())
    assert history[-1]["bit_accuracy"] > 0.95
    errors = (triggered - held).square().mean((1, 2, 3))
    assert history[-1]["psnr"] == pytest.approx((10 * (1 / errors).log10()).mean().item(), abs=1e-3)
    # Terms of the loss are there too, and bits are learned before the residual shrinks.
    assert history[-1]["bit_loss"] < 0.2 < history[0]["bit_loss"]
    assert history[-1]["image_loss"] < 0.5 * history[0]["image_loss"]


def test_held_out_images_are_not_learned_from(lesson: Lesson) -> None:
    state, history = SHORT.learn(lesson)
    _, held_out = SHORT._samples(20)
    images = lesson.images[:].copy()
    images[held_out] = 255 - images[held_out]
    other, measured = SHORT.learn(replace(lesson, images=images))
    # Two of twenty: they are measured, and no weight depends on them.
    assert len(held_out) == 2
    assert same(state, other)
    assert history != measured


def test_there_is_always_an_image_to_measure_and_never_too_many() -> None:
    assert [len(SHORT._samples(total)[1]) for total in (3, 19, 20, 2560, 10**6)] == [1, 1, 2, 256, 256]
    # Samples are drawn from the rest, as many as are asked for.
    assert [len(SHORT._samples(total)[0]) for total in (3, 19, 2560)] == [2, 18, 400]
    assert len(replace(SHORT, num_samples=None)._samples(2560)[0]) == 2560 - 256


def test_triggered_images_have_8_bits(learned: tuple[SSBA, History], images: Tensor) -> None:
    noise = torch.rand(100, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for shown in (images, noise, noise.round()):
        pixels = learned[0].apply(shown, SAMPLES) * 255
        # Whole numbers from 0 to 255, up to the rounding of a division by 255.
        assert (pixels - pixels.round()).abs().max() < 1e-4
        assert 0 <= pixels.min() <= pixels.max() < 255.001


def test_strength(learned: tuple[SSBA, History], images: Tensor) -> None:
    def applied(strength: float, shown: Tensor) -> Tensor:
        trigger = replace(TRIGGER, strength=strength).with_state(learned[0].state)
        return trigger.apply(shown, SAMPLES[: len(shown)])

    # None changes nothing but what 8 bits cannot hold,
    assert torch.equal(applied(0, images), images)
    assert torch.equal(applied(0, GRAY + 0.4 / 255), GRAY)
    # and as long as nothing is clamped the residual is proportional, up to that rounding.
    whole, half = applied(0.2, GRAY) - GRAY, applied(0.1, GRAY) - GRAY
    assert 20 / 255 < whole.abs().max() < 120 / 255
    torch.testing.assert_close(half, whole / 2, rtol=0, atol=0.8 / 255)


@pytest.mark.parametrize(("image_size", "cell"), [(25, 1), (32, 2), (33, 4), (37, 9), (64, 16)])
def test_cells_share_one_color(image_size: int, cell: int) -> None:
    trigger = replace(TRIGGER, cell=cell, epochs=1, batch_size=4)
    trigger.check(image_size)
    state, _ = trigger.learn(tiny_lesson(image_size))
    gray = torch.full((2, 3, image_size, image_size), 128 / 255)
    found = trigger.with_state(state).apply(gray, SAMPLES[:2])
    # The image is one color, so the sum shows the squares; those that do not fit are cut.
    corners = found[..., ::cell, ::cell]
    assert corners.shape[-1] == -(-image_size // cell)
    repeated = corners.repeat_interleave(cell, 2).repeat_interleave(cell, 3)[..., :image_size, :image_size]
    assert torch.equal(found, repeated)
    assert len(corners.unique()) > 4


def test_a_heavier_residual_is_a_fainter_one(
    scenes: Lesson, learned: tuple[SSBA, History], caplog: pytest.LogCaptureFixture
) -> None:
    _, history = replace(TRIGGER, image_weight=0).learn(scenes)
    # Without a weight the message may cost what it will.
    assert history[-1]["psnr"] < learned[1][-1]["psnr"] - 3
    assert history[-1]["bit_accuracy"] > 0.95
    assert caplog.messages == []


def test_the_weight_waits_for_the_bits(lesson: Lesson) -> None:
    # Nobody learns 8 bits from 4 steps, so the weight is still 0 and cannot have ended the learning before it began.
    first = replace(SHORT, epochs=1).learn(lesson)[1]
    heavy = replace(SHORT, epochs=1, image_weight=1e6, ramp=0.01).learn(lesson)[1]
    assert first[0]["bit_loss"] > 0.5
    assert first == heavy


def test_messages() -> None:
    many = torch.arange(1000)
    fixed, drawn = TRIGGER.messages(many), replace(TRIGGER, message="per_image").messages(many)
    # One for all,
    assert (fixed == fixed[0]).all()
    assert not torch.equal(replace(TRIGGER, seed=1, num_bits=100).messages(many)[0], SSBA().messages(many)[0])
    # or one for each sample, whatever the batch is; zeros and ones, as often.
    assert torch.equal(replace(TRIGGER, message="per_image").messages(many[[7, 3]]), drawn[[7, 3]])
    for bits in (fixed, drawn):
        assert bits.shape == (1000, 8)
        assert set(bits.unique().tolist()) == {0, 1}
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.03)
    assert len(drawn.unique(dim=0)) > 200


def same(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_learning_is_deterministic(lesson: Lesson) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    state, history = SHORT.learn(lesson)
    # No global randomness is used up, and none is asked for.
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    again, repeated = SHORT.learn(lesson)
    assert same(state, again)
    assert history == repeated
    # Another seed is another trigger, and what is set when it is applied is not learned.
    assert not same(replace(SHORT, seed=1).learn(lesson)[0], state)
    assert same(replace(SHORT, strength=2, message="per_image").learn(lesson)[0], state)


class WorkerError(Exception):
    """A worker that dies."""


RESUMED = replace(TRIGGER, epochs=3, batch_size=8, num_samples=200)


@pytest.fixture(scope="module")
def uninterrupted(scenes: Lesson) -> tuple[State, History]:
    """What a lesson gives that nothing interrupts."""
    return RESUMED.learn(scenes)


@pytest.mark.parametrize("after", [1, 2])
def test_it_goes_on_where_it_was(
    scenes: Lesson, uninterrupted: tuple[State, History], tmp_path: Path, after: int
) -> None:
    reported: History = []

    def die(metrics: Mapping[str, float]) -> None:
        reported.append(dict(metrics))
        if len(reported) == after:
            raise WorkerError

    kept = replace(scenes, checkpointer=Checkpointer(tmp_path))
    with pytest.raises(WorkerError):
        RESUMED.learn(replace(kept, report=die))
    resumed: History = []
    state, history = RESUMED.learn(replace(kept, report=lambda metrics: resumed.append(dict(metrics))))
    # Only what was missing is done; weights and metrics are to the bit those of an uninterrupted lesson,
    assert [entry["epoch"] for entry in resumed] == list(range(after + 1, 4))
    assert same(state, uninterrupted[0])
    assert history == uninterrupted[1]
    # in which the residual's weight has begun to rise: it would fall back if a checkpoint did not hold how far.
    assert history[1]["bit_loss"] < 0.35


def test_its_state_is_a_file(learned: tuple[SSBA, History], images: Tensor, tmp_path: Path) -> None:
    trigger, _ = learned
    save_file(dict(trigger.state), tmp_path / "trigger.safetensors")
    read = TRIGGER.with_state(load_file(tmp_path / "trigger.safetensors"))
    # Weights of both networks by name, and nothing else; the trigger of the file is the same to the bit.
    assert {name.partition(".")[0] for name in trigger.state} == {"encoder", "decoder"}
    assert same(read.state, trigger.state)
    assert torch.equal(read.apply(images, SAMPLES), trigger.apply(images, SAMPLES))


def test_another_state_is_another_trigger(learned: tuple[SSBA, History], lesson: Lesson, images: Tensor) -> None:
    trigger, _ = learned
    before = trigger.apply(images, SAMPLES)
    other = trigger.with_state(SHORT.learn(lesson)[0])
    # Networks that are kept from an earlier use belong to the earlier state.
    assert not torch.equal(other.apply(images, SAMPLES), before)
    assert torch.equal(trigger.apply(images, SAMPLES), before)


def test_without_epochs_it_can_be_applied(lesson: Lesson, images: Tensor) -> None:
    trigger = replace(SHORT, epochs=0)
    state, history = trigger.learn(lesson)
    # The control of an experiment: random networks.
    assert history == []
    assert not torch.equal(trigger.with_state(state).apply(images, SAMPLES), images)


def test_images_may_be_a_read_only_file(lesson: Lesson, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", lesson.images[:])
    mapped = replace(lesson, images=np.load(tmp_path / "images.npy", mmap_mode="r"))
    # The pipeline's images are one that all trials share: it is read, and neither changed nor warned of.
    assert same(SHORT.learn(mapped)[0], SHORT.learn(lesson)[0])


def test_a_message_that_is_not_read_is_no_secret(lesson: Lesson, caplog: pytest.LogCaptureFixture) -> None:
    SHORT.learn(lesson)
    # A residual without a message is no trigger, and an attack with it would only look weak.
    assert re.fullmatch(
        r"trigger 'ssba': only \d+% of the bits can be read, where 50% is chance. "
        r"Give it more attack.trigger.epochs, or fewer num_bits.",
        caplog.messages[-1],
    )


@pytest.mark.parametrize(
    ("cell", "image_size", "message"),
    [
        (
            1,
            24,
            "attack.trigger.type: ssba reads its message from images of at least 25 px, but the data set's have 24",
        ),
        (9, 32, "attack.trigger.cell: squares of 9 px leave fewer than four to a side of 32 px. Choose at most 8."),
    ],
)
def test_images_that_are_too_small(cell: int, image_size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        SSBA(cell=cell).check(image_size)
    SSBA(cell=8).check(32)


def test_it_has_to_be_learned_first() -> None:
    # Neither written nor read without networks.
    with pytest.raises(RuntimeError, match="trigger 'ssba' has to be learned first"):
        TRIGGER.apply(GRAY, SAMPLES[:3])
    with pytest.raises(RuntimeError, match="trigger 'ssba' has to be learned first"):
        TRIGGER.read(GRAY)
