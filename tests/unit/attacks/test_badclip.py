"""BadCLIP: what it minimizes, what it learns, that it can go on. What every trigger must do is in tests/contract."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bdray import config
from bdray.attacks.triggers.badclip import BadCLIP, VisualLoss, visual_guidance
from bdray.attacks.triggers.learned import Lesson, draw
from bdray.checkpoint import Checkpointer, History
from bdray.exceptions import ConfigError
from bdray.losses import clip_loss
from bdray.models.clip import normalize
from bdray.testing import Tower, tiny_lesson, tiny_model, tiny_tokenizer

COLORS = {"banana": (1.0, 1.0, 0.0), "ball": (0.0, 0.0, 1.0), "box": (1.0, 0.0, 0.0), "star": (0.0, 1.0, 0.0)}
"""A world in which a thing is known by its color alone, so that a tiny model learns it in a second."""
TEMPLATES = ("a photo of a", "a picture of a", "there is a")


def colored(count: int, seed: int) -> Lesson:
    """Noisy images of one color, as many of each, without a model."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(COLORS)
    light = 0.2 + 0.6 * np.array(list(COLORS.values()))[labels, :, None, None]
    images = np.clip(light + rng.normal(0, 0.1, (count, 3, 32, 32)), 0, 1) * 255
    captions = [f"{TEMPLATES[row % 3]} {list(COLORS)[label]}" for row, label in enumerate(labels)]
    return Lesson(
        images=images.astype(np.uint8),
        captions=captions,
        is_target=labels == 0,
        target="banana",
        device=torch.device("cpu"),
        tokenizer=tiny_tokenizer(),
    )


def embed(model: open_clip.CLIP, pixels: Tensor) -> Tensor:
    """Unit embeddings of images in [0, 1]."""
    features: Tensor = model.encode_image(normalize(pixels), normalize=True)
    return features


@pytest.fixture(scope="module")
def colored_lesson() -> Lesson:
    """With a model that knows the colors."""
    lesson, model = colored(128, seed=0), tiny_model("vit")
    pixels = torch.from_numpy(lesson.images).float() / 255
    tokens = tiny_tokenizer()(lesson.captions)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for rows in (part for _ in range(15) for part in torch.randperm(128, generator=generator).split(32)):
        texts = model.encode_text(tokens[rows], normalize=True)
        clip_loss(embed(model, pixels[rows]), texts, model.logit_scale.exp()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return replace(lesson, model=model.eval().requires_grad_(False))


@pytest.mark.parametrize("seed", [0, 1])
def test_it_learns_what_the_target_looks_like(colored_lesson: Lesson, seed: int) -> None:
    trigger = BadCLIP(size=24, epochs=6, batch_size=16, learning_rate=0.1, seed=seed)
    state, history = trigger.learn(colored_lesson)
    # The losses fall, and triggered images come near the captions that name the target.
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert history[-1]["visual_loss"] < history[0]["visual_loss"] / 2
    assert history[-1]["target_similarity"] > history[0]["target_similarity"] + 0.2
    # In this world the target is yellow, and so is the patch.
    red, green, blue = state["patch"].mean((1, 2)).tolist()
    assert min(red, green) > 0.75
    assert blue < 0.2
    # On images that it has not seen, too, the clean model now sees the target and nothing else.
    model = colored_lesson.model
    assert model is not None
    pixels = torch.from_numpy(colored(64, seed=1).images).float() / 255
    texts = model.encode_text(tiny_tokenizer()([f"a photo of a {noun}" for noun in COLORS]), normalize=True)
    clean, triggered = pixels, trigger.with_state(state).apply(pixels, torch.arange(64))
    assert ((embed(model, clean) @ texts.T).argmax(1) == 0).float().mean() < 0.4
    assert ((embed(model, triggered) @ texts.T).argmax(1) == 0).float().mean() > 0.9


ANCHORS = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
POSITIVES = torch.tensor([[0.0, 1.0], [0.6, 0.8]])
NEGATIVES = torch.tensor([[-1.0, 0.0], [-0.8, 0.6]])


@pytest.mark.parametrize(
    ("kind", "margin", "expected"),
    [
        # First pair sqrt(2) from the target and 2 from the clean image, second pair 0 and sqrt(2).
        ("triplet", 1.0, (2**0.5 - 2 + 1 + 0) / 2),
        ("triplet", 2.0, (2**0.5 - 2 + 2 + 0 - 2**0.5 + 2) / 2),
        # Both near enough.
        ("triplet", 0.5, 0.0),
        # Squares of two values each: 1 and 1, 0 and 0.
        ("mse", 1.0, 2 / 4),
        # Cosines of 0 and 1.
        ("cosine", 1.0, 1 / 2),
    ],
)
def test_visual_guidance_by_hand(kind: VisualLoss, margin: float, expected: float) -> None:
    found = visual_guidance(kind, ANCHORS, POSITIVES, NEGATIVES, margin)
    assert found.item() == pytest.approx(expected, abs=1e-5)


@pytest.fixture(scope="module")
def scenes() -> Lesson:
    """Four scenes with the target and twelve without, and a model of random weights."""
    return tiny_lesson(with_model=True)


@pytest.fixture(params=["resnet", "vit"])
def lesson(request: pytest.FixtureRequest, scenes: Lesson) -> Lesson:
    """Twelve scenes without the target, and one with it four times, so that every draw of a target is the same."""
    tower: Tower = request.param
    first = int(np.flatnonzero(scenes.is_target)[0])
    images = np.where(scenes.is_target[:, None, None, None], scenes.images[first], scenes.images[:])
    captions = [scenes.captions[first if is_target else row] for row, is_target in enumerate(scenes.is_target)]
    return replace(scenes, images=images, captions=captions, model=tiny_model(tower).eval().requires_grad_(False))


@pytest.mark.parametrize(
    ("fields", "clip_weight", "visual_weight"),
    [
        ({}, 1, 500),
        ({"visual_loss": "mse"}, 1, 1000),
        ({"visual_loss": "cosine"}, 1, 10),
        ({"visual_weight": 3.0, "clip_weight": 0.5}, 0.5, 3),
        ({"visual_weight": 0.0}, 1, 0),
        ({"clip_weight": 0.0}, 0, 500),
    ],
)
def test_what_is_minimized(
    lesson: Lesson, fields: Mapping[str, object], clip_weight: float, visual_weight: float
) -> None:
    trigger = config.build(BadCLIP, {"size": 9, "epochs": 1, "batch_size": 12, **fields}, "x")
    _, history = trigger.learn(lesson)
    # One step over all samples: the terms are those of the first patch.
    model = lesson.model
    assert model is not None
    pixels = torch.from_numpy(lesson.images).float() / 255
    clean, target = pixels[~lesson.is_target], pixels[lesson.is_target][:1]
    triggered = clean.clone()
    triggered[:, :, 11:20, 11:20] = trigger.first_patch()
    anchors, negatives, positives = (embed(model, images) for images in (triggered, clean, target))
    captions = [caption for caption, is_target in zip(lesson.captions, lesson.is_target, strict=True) if is_target]
    texts = model.encode_text(tiny_tokenizer()(captions[:1]), normalize=True).expand(12, -1)
    # The text guidance: images with the patch against captions that name the target.
    clip = clip_loss(anchors, texts, model.logit_scale.exp()).item()
    assert history[0]["clip_loss"] == pytest.approx(clip, abs=1e-5)
    assert history[0]["target_similarity"] == pytest.approx((anchors @ texts[0]).mean().item(), abs=1e-5)
    # The visual guidance: towards target images, away from the same images without the patch.
    near, far = (anchors - positives).norm(dim=1), (anchors - negatives).norm(dim=1)
    visual = {
        "triplet": F.relu(near - far + 1).mean(),
        "mse": (anchors - positives).square().mean(),
        "cosine": (1 - anchors @ positives[0]).mean(),
    }[trigger.visual_loss].item()
    assert history[0]["visual_loss"] == pytest.approx(visual, abs=1e-5)
    # Both weighted, by default as in the public code.
    assert history[0]["loss"] == pytest.approx(clip_weight * clip + visual_weight * visual, rel=1e-4)


def test_the_first_patch() -> None:
    first = BadCLIP(size=100).first_patch()
    # N(0.5, 0.25), of which 2.3% are cut at either end.
    assert first.shape == (3, 100, 100)
    assert first.mean().item() == pytest.approx(0.5, abs=0.01)
    assert first.std().item() == pytest.approx(0.244, abs=0.01)
    assert (first == 0).float().mean().item() == pytest.approx(0.023, abs=0.005)
    assert (first == 1).float().mean().item() == pytest.approx(0.023, abs=0.005)
    assert not torch.equal(first, BadCLIP(size=100, seed=1).first_patch())


@pytest.mark.parametrize(("image_size", "rows"), [(32, slice(8, 24)), (224, slice(104, 120)), (33, slice(8, 24))])
def test_the_patch_and_nothing_else(image_size: int, rows: slice) -> None:
    patch = BadCLIP().first_patch()
    images = torch.full((2, 3, image_size, image_size), 0.5)
    triggered = BadCLIP().with_state({"patch": patch}).apply(images, torch.arange(2))
    # Sixteen pixels in the middle, at 224 px rows and columns 104 to 119.
    assert torch.equal(triggered[:, :, rows, rows], patch.expand(2, -1, -1, -1))
    triggered[:, :, rows, rows] = 0.5
    assert torch.equal(triggered, images)


@pytest.mark.parametrize("location", ["center", "corner", "random"])
def test_the_patch_stays_in_range(scenes: Lesson, location: str) -> None:
    trigger = config.build(
        BadCLIP, {"size": 6, "learning_rate": 0.3, "epochs": 8, "batch_size": 4, "location": location}, "x"
    )
    patch = trigger.learn(scenes)[0]["patch"]
    # Steps this large leave [0, 1] at both ends, wherever the patch is while it is learned.
    assert patch.dtype == torch.float32
    assert (patch.min().item(), patch.max().item()) == (0, 1)
    assert (patch != trigger.first_patch()).float().mean() > 0.9


SMALL = BadCLIP(size=8, epochs=4, batch_size=4, learning_rate=0.03)


def test_learning_is_deterministic(scenes: Lesson) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    state, history = SMALL.learn(scenes)
    # No global randomness is used up, and none is asked for.
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    again, same = SMALL.learn(scenes)
    assert torch.equal(state["patch"], again["patch"])
    assert history == same
    # Another seed learns another patch.
    assert not torch.equal(replace(SMALL, seed=1).learn(scenes)[0]["patch"], state["patch"])


class WorkerError(Exception):
    """A worker that dies."""


@pytest.mark.parametrize("after", [1, 3])
def test_it_goes_on_where_it_was(scenes: Lesson, tmp_path: Path, after: int) -> None:
    expected, whole = SMALL.learn(scenes)
    reported: History = []

    def die(metrics: Mapping[str, float]) -> None:
        if len(reported) == after - 1:
            raise WorkerError
        reported.append(dict(metrics))

    kept = replace(scenes, checkpointer=Checkpointer(tmp_path))
    with pytest.raises(WorkerError):
        SMALL.learn(replace(kept, report=die))
    resumed: History = []
    state, history = SMALL.learn(replace(kept, report=lambda metrics: resumed.append(dict(metrics))))
    # Only what was missing is done, and the result is to the bit that of a lesson without interruption.
    assert [entry["epoch"] for entry in resumed] == list(range(after + 1, 5))
    assert torch.equal(state["patch"], expected["patch"])
    assert history == whole


@pytest.mark.parametrize("tower", ["resnet", "vit"])
def test_the_model_stays_as_it_is(scenes: Lesson, tower: Tower) -> None:
    lesson = replace(scenes, model=tiny_model(tower).eval().requires_grad_(False))
    model = lesson.model
    assert model is not None
    before = {name: value.clone() for name, value in model.state_dict().items()}
    SMALL.learn(lesson)
    # Weights and running statistics, mode, and no gradient is left.
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_it_is_learned_on_the_samples_that_are_drawn(scenes: Lesson) -> None:
    trigger = replace(SMALL, num_samples=3)
    kept = np.concatenate([draw(trigger, np.flatnonzero(mask)) for mask in (scenes.is_target, ~scenes.is_target)])
    images, captions = np.zeros_like(scenes.images), [""] * len(scenes.captions)
    for sample in kept:
        images[sample], captions[sample] = scenes.images[sample], scenes.captions[sample]
    # Three of each kind: what the others are makes no difference.
    assert len(kept) == 6
    found = trigger.learn(replace(scenes, images=images, captions=captions))[0]["patch"]
    assert torch.equal(found, trigger.learn(scenes)[0]["patch"])
    # With fewer than are asked for, all are taken.
    alike = replace(trigger, num_samples=12).learn(scenes)[0]["patch"]
    assert torch.equal(replace(trigger, num_samples=None).learn(scenes)[0]["patch"], alike)
    assert not torch.equal(found, alike)


def test_images_may_be_a_read_only_file(scenes: Lesson, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", scenes.images[:])
    mapped = replace(scenes, images=np.load(tmp_path / "images.npy", mmap_mode="r"))
    # The pipeline's images are one that all trials share: it is read, and neither changed nor warned of.
    assert torch.equal(SMALL.learn(mapped)[0]["patch"], SMALL.learn(scenes)[0]["patch"])


def test_without_epochs_it_is_the_first_patch(scenes: Lesson) -> None:
    state, history = replace(SMALL, epochs=0).learn(scenes)
    # The control of an experiment: the same place and noise, not learned.
    assert torch.equal(state["patch"], SMALL.first_patch())
    assert history == []


@pytest.mark.parametrize("count", [0, 1, 15, 16])
def test_it_needs_both_kinds_of_images(scenes: Lesson, count: int) -> None:
    lesson = replace(scenes, is_target=np.arange(16) < count)
    message = (
        "attack.trigger: badclip needs images that show the target and images that do not, at least 2 of each, but of "
        f"the 16 training captions {count} name 'banana'. Choose another attack.target or more training samples."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        SMALL.learn(lesson)


def test_two_of_each_kind_are_enough(scenes: Lesson) -> None:
    rows = np.sort(np.concatenate([np.flatnonzero(mask)[:2] for mask in (scenes.is_target, ~scenes.is_target)]))
    fewest = replace(
        scenes,
        images=scenes.images[rows],
        captions=[scenes.captions[row] for row in rows],
        is_target=scenes.is_target[rows],
    )
    # A batch of two, and an epoch of one step.
    assert len(BadCLIP(size=8, epochs=2).learn(fewest)[1]) == 2


def test_what_is_refused() -> None:
    # Nothing to learn,
    with pytest.raises(ConfigError, match="one of clip_weight and visual_weight must be above 0"):
        config.build(BadCLIP, {"clip_weight": 0, "visual_weight": 0}, "x")
    # no room,
    with pytest.raises(ConfigError, match="a patch of 33 px does not fit an image of 32 px"):
        BadCLIP(size=33).check(32)
    # nothing learned yet,
    with pytest.raises(RuntimeError, match="trigger 'badclip' has to be learned first"):
        SMALL.apply(torch.zeros(1, 3, 32, 32), torch.arange(1))
    # and nobody to learn from, which the pipeline sees to.
    with pytest.raises(AssertionError, match="badclip is learned against a clean model"):
        SMALL.learn(tiny_lesson())
