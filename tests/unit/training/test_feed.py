"""Batches are a pure function of (seed, epoch, step), whoever asks, and hold exactly the poison they should."""

import random
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bdray.attacks.attack import Attack
from bdray.attacks.triggers.blended import Blended
from bdray.exceptions import DataError
from bdray.models.clip import PIXEL_MEAN, PIXEL_STD
from bdray.objective import Batch
from bdray.testing import tiny_scenes, tiny_tokenizer
from bdray.text.eda import Eda
from bdray.training.ahead import ahead
from bdray.training.captions import augment_captions
from bdray.training.feed import Feed

COUNT, BATCH_SIZE = 70, 16
POISONING = Attack(trigger=Blended(), num_poisoned=20).poison(["a scene"] * COUNT, seed=0)


@pytest.fixture(scope="module")
def feed(cache: Path) -> Feed:
    """70 poisoned scenes with views, in batches of 16."""
    pairs = tiny_scenes(num_train=COUNT).load("train", cache)
    captions, tokenizer = POISONING.replace_captions(pairs.captions), tiny_tokenizer()
    return Feed(
        images=pairs.images,
        tokens=tokenizer(captions),
        augmented_tokens=tokenizer(augment_captions(captions, Eda(), seed=0)),
        batch_size=BATCH_SIZE,
        seed=0,
        poisoning=POISONING,
    )


def equal(first: Batch, second: Batch) -> bool:
    return all(torch.equal(getattr(first, field.name), getattr(second, field.name)) for field in fields(Batch))


def joined(batches: list[Batch]) -> Batch:
    """Several batches as one, in the order of samples."""
    order = torch.cat([batch.samples for batch in batches]).argsort()
    return Batch(
        **{field.name: torch.cat([getattr(batch, field.name) for batch in batches])[order] for field in fields(Batch)}
    )


def test_batches_do_not_depend_on_what_was_asked_before(feed: Feed) -> None:
    second = list(feed.epoch(1))
    first = list(feed.epoch(0))
    # Another object, another order of asking, an iterator left halfway: the same batches.
    other = replace(feed)
    next(other.epoch(0))
    assert all(map(equal, first, other.epoch(0)))
    assert all(map(equal, second, other.epoch(1)))
    # Another epoch or another seed: other batches.
    assert not any(map(equal, first, second))
    assert not any(map(equal, first, replace(feed, seed=1).epoch(0)))


def test_an_epoch_is_a_permutation_without_the_incomplete_batch(feed: Feed) -> None:
    assert feed.steps_per_epoch == 4
    drawn = []
    for epoch in range(20):
        batches = list(feed.epoch(epoch))
        # All batches are full, and no sample comes twice.
        assert [len(batch.samples) for batch in batches] == [BATCH_SIZE] * 4
        samples = torch.cat([batch.samples for batch in batches])
        assert len(samples.unique()) == 64
        drawn.append(samples)
    # Other samples are left out in other epochs, so that none is lost for good.
    assert len(torch.cat(drawn).unique()) == COUNT


@pytest.mark.parametrize("world_size", [2, 4])
def test_a_global_batch_does_not_depend_on_the_number_of_workers(feed: Feed, world_size: int) -> None:
    workers = [replace(feed, rank=rank, world_size=world_size).epoch(3) for rank in range(world_size)]
    for alone, *shares in zip(feed.epoch(3), *workers, strict=True):
        assert {len(part.samples) for part in shares} == {BATCH_SIZE // world_size}
        # Samples, poison and augmentations are those of the single worker, to the last bit.
        assert equal(joined(shares), joined([alone]))


@pytest.mark.parametrize("processes", [1, 2])
def test_batches_made_ahead_are_the_same_ones(feed: Feed, processes: int) -> None:
    ahead = replace(feed, loader_processes=processes)
    before = torch.random.get_rng_state()
    assert all(map(equal, feed.epoch(2, first=1), ahead.epoch(2, first=1)))
    # Who makes batches is none of the training's business, and so draws nothing from its generator.
    assert torch.equal(torch.random.get_rng_state(), before)
    # An epoch may be left halfway.
    next(ahead.epoch(3))


def test_what_goes_wrong_in_another_process_is_said_as_if_it_were_here() -> None:
    def make(job: int) -> int:
        if job == 2:
            raise DataError("b.jpg: could be read when the data set was prepared, and cannot now.")
        return 10 * job

    made = ahead(make, range(4), processes=2)
    assert [next(made), next(made)] == [0, 10]
    with pytest.raises(DataError, match=r"^b\.jpg: could be read .* cannot now\.$"):
        next(made)


def test_unequal_shares_are_refused(feed: Feed) -> None:
    # Otherwise a global batch of 16 would silently have 15 samples.
    with pytest.raises(AssertionError, match="equal shares"):
        replace(feed, world_size=3)


def pixels(images: Tensor) -> Tensor:
    """Undo CLIP's normalization."""
    return images * torch.tensor(PIXEL_STD)[:, None, None] + torch.tensor(PIXEL_MEAN)[:, None, None]


def test_poison_is_where_it_should_be_and_nowhere_else(feed: Feed, cache: Path) -> None:
    clean_captions = tiny_scenes(num_train=COUNT).load("train", cache).captions
    clean = replace(feed, tokens=tiny_tokenizer()(clean_captions), poisoning=None)
    seen: set[int] = set()
    for poisoned, original in zip(feed.epoch(0), clean.epoch(0), strict=True):
        expected = torch.tensor([sample in POISONING.captions for sample in poisoned.samples.tolist()])
        # The batch knows its poison.
        assert torch.equal(poisoned.is_poisoned, expected)
        assert not original.is_poisoned.any()
        # Images, their views and captions differ from the clean ones exactly there.
        assert poisoned.augmented_images is not None
        assert original.augmented_images is not None
        assert torch.equal((poisoned.images != original.images).flatten(1).any(1), expected)
        changed_views = (poisoned.augmented_images != original.augmented_images).flatten(1).any(1)
        assert not changed_views[~expected].any()
        assert changed_views[expected].float().mean() > 0.5  # a few policies leave nothing of the image
        assert torch.equal((poisoned.tokens != original.tokens).any(1), expected)
        # Clean images are the data set's pixels, normalized.
        torch.testing.assert_close(
            pixels(original.images), torch.from_numpy(feed.images[original.samples.numpy()]).float() / 255
        )
        seen |= set(poisoned.samples[expected].tolist())
    assert len(seen) > 10  # of 20; six samples sit out the epoch


def test_an_epoch_may_do_without_views(feed: Feed) -> None:
    for full, plain in zip(feed.epoch(0), feed.epoch(0, views=False), strict=True):
        assert plain.augmented_images is None
        assert plain.augmented_tokens is None
        # All else is the same.
        assert equal(
            replace(full, augmented_images=full.images, augmented_tokens=full.tokens),
            replace(plain, augmented_images=full.images, augmented_tokens=full.tokens),
        )


def test_views_follow_their_policy(feed: Feed, tmp_path: Path) -> None:
    other = replace(feed, image_augmentation="roclip")
    found = [joined(list(some.epoch(0))) for some in (feed, other, replace(other, cache=tmp_path))]
    views = [batch.augmented_images for batch in found]
    assert views[0] is not None
    assert views[1] is not None
    assert views[2] is not None
    # Clean and triggered images alike, with a cache and without.
    assert ((views[0] != views[1]).flatten(1).any(1)).float().mean() > 0.9
    assert torch.equal(views[1], views[2])


@pytest.mark.parametrize("processes", [0, 1])
def test_views_made_on_the_device_are_the_same_ones(feed: Feed, tmp_path: Path, processes: int) -> None:
    device = replace(feed, augments_on_device=True, loader_processes=processes, cache=tmp_path)
    # Clean and triggered ones, to the last bit, whoever draws what they get.
    assert all(map(equal, feed.epoch(1), device.epoch(1)))
    # Other policies stay where they are.
    assert all(
        map(
            equal,
            replace(feed, image_augmentation="roclip").epoch(0),
            replace(device, image_augmentation="roclip").epoch(0),
        )
    )


def test_a_cache_changes_nothing(feed: Feed, tmp_path: Path) -> None:
    clean = replace(feed, poisoning=None)
    for poisoning in (None, POISONING):
        alone, shared = replace(clean, poisoning=poisoning), replace(clean, poisoning=poisoning, cache=tmp_path)
        # Views read from the cache are those made batch by batch; batches with poison make their own.
        for _ in range(2):
            assert all(map(equal, alone.epoch(0), shared.epoch(0)))


def test_without_views_there_are_none(feed: Feed) -> None:
    batch = next(replace(feed, augmented_tokens=None).epoch(0))
    assert batch.augmented_images is None
    assert batch.augmented_tokens is None


def test_global_randomness_is_neither_used_nor_changed(feed: Feed) -> None:
    def state() -> tuple[bytes, str, object]:
        return torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state()), random.getstate()

    before, first = state(), list(feed.epoch(0))
    # Reading batches leaves the three global generators as they were,
    assert state() == before
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    # and their state means nothing to it.
    assert all(map(equal, first, feed.epoch(0)))


@pytest.mark.parametrize("seed", [0, 2**24, 20260101, 2**63])
def test_every_seed_works(seed: int, feed: Feed) -> None:
    # A date is a popular seed, and overflows where seeds are packed into one number.
    assert len(list(replace(feed, seed=seed).epoch(0))) == 4


def test_second_captions_are_drawn_once_and_by_position() -> None:
    captions = ["a small red ball on the grass next to a large house"] * 30
    views = augment_captions(captions, Eda(), seed=0)
    assert augment_captions(captions, Eda(), seed=0) == views
    # Each position draws for itself, so a shorter list is a prefix; another seed draws anew.
    assert augment_captions(captions[:7], Eda(), seed=0) == views[:7]
    assert len(set(views)) > 10
    assert augment_captions(captions, Eda(), seed=1) != views
