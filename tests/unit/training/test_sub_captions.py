"""Extra batches: K samples of an epoch with sub-captions, as a pure function of (seed, epoch, step)."""

import csv
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from bdray.objective import Batch, Loss
from bdray.testing import tiny_model, tiny_recipe, tiny_scenes, tiny_tokenizer
from bdray.text.parsers.base import ParsedCaption
from bdray.text.parsers.lexicon import Lexicon
from bdray.training.feed import Feed, spread
from bdray.training.loop import train
from bdray.training.sub_captions import SubCaptionedBatch, SubCaptionSource

COUNT, BATCH_SIZE = 70, 16
EXTRA, USUAL = 3, 4
"""Batches of an epoch: 40 samples are rounded up to 48; 6 of 70 samples are left over."""


def source(captions: list[str], number: int = 40, seed: int = 0) -> SubCaptionSource:
    return SubCaptionSource(captions, Lexicon(), tiny_tokenizer(), seed, number)


@pytest.fixture(scope="module")
def captions(cache: Path) -> list[str]:
    return list(tiny_scenes(num_train=COUNT).load("train", cache).captions)


@pytest.fixture(scope="module")
def feed(cache: Path, captions: list[str]) -> Feed:
    """70 scenes in batches of 16, 40 of them with sub-captions."""
    return Feed(
        images=tiny_scenes(num_train=COUNT).load("train", cache).images,
        tokens=tiny_tokenizer()(captions),
        augmented_tokens=tiny_tokenizer()(captions),
        batch_size=BATCH_SIZE,
        seed=0,
        sub_captions=source(captions),
    )


def equal(first: Batch, second: Batch) -> bool:
    """To the last bit, and of the same kind."""
    if type(first) is not type(second):
        return False
    pairs = [(getattr(first, field.name), getattr(second, field.name)) for field in fields(first)]
    return all(one is other if one is None or other is None else torch.equal(one, other) for one, other in pairs)


def joined(parts: list[Batch]) -> Batch:
    """Several batches of a kind as one, in the order of samples."""
    order = torch.cat([part.samples for part in parts]).argsort()
    found = {field.name: [getattr(part, field.name) for part in parts] for field in fields(parts[0])}
    values: dict[str, Any] = {name: None if of[0] is None else torch.cat(of)[order] for name, of in found.items()}
    return type(parts[0])(**values)


@pytest.mark.parametrize(
    ("number", "batches"), [(0, 0), (1, 1), (16, 1), (17, 2), (40, 3), (64, 4), (65, 4), (1000, 4)]
)
def test_so_many_samples_in_whole_batches(number: int, batches: int, captions: list[str]) -> None:
    found = source(captions, number)
    # Rounded up, and as many as can be filled where there are too few samples.
    assert found.num_batches(BATCH_SIZE) == batches
    drawn = found.draw(0, BATCH_SIZE)
    assert drawn.shape == (batches, BATCH_SIZE)
    # None twice in an epoch.
    assert len(np.unique(drawn)) == drawn.size


def test_every_epoch_and_seed_draws_others(captions: list[str]) -> None:
    found = source(captions, 16)
    drawn = [found.draw(epoch, BATCH_SIZE) for epoch in range(30)]
    # Again, and from another object: the same samples.
    assert all((source(captions, 16).draw(epoch, BATCH_SIZE) == of).all() for epoch, of in enumerate(drawn))
    # Over many epochs, every sample has its turn.
    assert len({of.tobytes() for of in drawn}) == 30
    assert len(np.unique(np.concatenate(drawn))) == COUNT
    assert (source(captions, 16, seed=1).draw(0, BATCH_SIZE) != drawn[0]).any()


def test_captions_without_words_are_never_drawn(captions: list[str]) -> None:
    some = [caption if index % 2 else " 42!" for index, caption in enumerate(captions)]
    found = source(some, 1000)
    # Not to fill a batch either: 35 captions have words, two batches of 16.
    assert found.num_batches(BATCH_SIZE) == 2
    assert all(sample % 2 for epoch in range(5) for sample in found.draw(epoch, BATCH_SIZE).flat)
    assert source(["", "1"]).num_batches(BATCH_SIZE) == 0


def test_factual_stays_and_counterfactual_changes() -> None:
    found = source(["a photo of a red ball on the grass", "apple"])
    made = [found.sub_captions(epoch, 0) for epoch in range(20)]
    assert {one.caption for one in made} == {"a photo of a red ball on the grass"}
    assert {one.factual for one in made} == {"red ball on grass"}
    # Drawn anew in every epoch, never the factual one, and the same whenever it is asked for.
    assert len({one.counterfactual for one in made}) > 15
    assert all(one.counterfactual != one.factual for one in made)
    assert made[7] == source(list(found.captions)).sub_captions(7, 0)
    # Each sample and each seed draws for itself.
    assert source(["apple", "apple"]).sub_captions(0, 0) != source(["apple", "apple"]).sub_captions(0, 1)
    assert source(list(found.captions), seed=1).sub_captions(7, 0) != made[7]


def test_extra_batches_come_in_between_and_leave_the_others_alone(feed: Feed) -> None:
    assert feed.steps_per_epoch == USUAL + EXTRA
    batches = list(feed.epoch(2))
    kinds = [isinstance(batch, SubCaptionedBatch) for batch in batches]
    # As even as can be.
    assert kinds == [False, True, False, True, False, True, False]
    # The usual batches are those of a training without sub-captions.
    usual = [batch for batch, is_extra in zip(batches, kinds, strict=True) if not is_extra]
    assert all(map(equal, usual, replace(feed, sub_captions=None).epoch(2)))
    # The extra ones hold what was drawn, without views, each image with its own sub-captions.
    assert feed.sub_captions is not None
    for batch, drawn in zip(
        [batch for batch in batches if isinstance(batch, SubCaptionedBatch)],
        feed.sub_captions.draw(2, BATCH_SIZE),
        strict=True,
    ):
        assert batch.samples.tolist() == sorted(drawn)
        assert batch.augmented_images is None
        made = [feed.sub_captions.sub_captions(2, sample) for sample in sorted(drawn)]
        assert torch.equal(batch.factual_tokens, tiny_tokenizer()([one.factual for one in made]))
        assert torch.equal(batch.counterfactual_tokens, tiny_tokenizer()([one.counterfactual for one in made]))
        assert torch.equal(batch.tokens, feed.tokens[batch.samples])


def test_batches_do_not_depend_on_what_was_asked_before(feed: Feed) -> None:
    second = list(feed.epoch(1))
    other = replace(feed, sub_captions=source(list(feed.sub_captions.captions) if feed.sub_captions else []))
    # A process that starts in the second epoch, as after an interruption, sees the same.
    assert all(map(equal, other.epoch(1), second))
    assert not any(map(equal, feed.epoch(0), second))


def test_token_ids_are_shared_through_files(
    feed: Feed, captions: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = replace(source(captions), cache=tmp_path)
    # Written, then read: what is made without a cache.
    assert all(map(equal, replace(feed, sub_captions=shared).epoch(1), feed.epoch(1)))
    assert len(list(tmp_path.glob("*.npy"))) == 1

    class Silent(Lexicon):
        def parse(self, caption: str) -> ParsedCaption:
            raise AssertionError("parsed what is in the cache")

    monkeypatch.setattr(Lexicon, "parse", Silent.parse)
    found = replace(source(captions), cache=tmp_path)
    assert all(map(equal, replace(feed, sub_captions=found).epoch(1), feed.epoch(1)))
    # Another epoch, seed, number or caption is another file.
    others = [(shared, 2, 16), (source(captions, seed=1), 1, 16), (source(captions, 60), 1, 16)]
    others += [(source([*captions[1:], "a pear"]), 1, 16)]
    for other, epoch, batch_size in others:
        with pytest.raises(AssertionError, match="in the cache"):
            replace(other, cache=tmp_path, _parsed={}).epoch(epoch, batch_size)


@pytest.mark.parametrize("world_size", [2, 4])
def test_a_global_batch_does_not_depend_on_the_number_of_workers(feed: Feed, world_size: int) -> None:
    workers = [replace(feed, rank=rank, world_size=world_size).epoch(3) for rank in range(world_size)]
    for alone, *shares in zip(feed.epoch(3), *workers, strict=True):
        # Equal shares of the usual batches and of the extra ones.
        assert {len(part.samples) for part in shares} == {BATCH_SIZE // world_size}
        assert equal(joined(shares), joined([alone]))


@pytest.mark.parametrize(("count", "length"), [(0, 5), (1, 5), (2, 5), (5, 5), (16, 141), (50, 81), (0, 0)])
def test_marks_are_even(count: int, length: int) -> None:
    marks = list(spread(count, length))
    places = np.flatnonzero(marks)
    assert len(marks) == length
    assert len(places) == count
    # Distances differ by one at most, and the row is the same from its end to within a place.
    distances = np.diff(places)
    assert count < 2 or distances.max() - distances.min() <= 1
    assert count == 0 or abs(places[0] - (length - 1 - places[-1])) <= 1


class Constant:
    """1 for usual batches, 5 for extra ones."""

    needs_views = False

    def __call__(self, model: open_clip.CLIP, batch: Batch) -> Loss:
        zero = 0 * model.logit_scale
        is_extra = isinstance(batch, SubCaptionedBatch)
        return Loss({"extra_loss": zero + 5}) if is_extra else Loss({"usual_loss": zero + 1})


def test_terms_are_means_over_the_batches_that_have_them(feed: Feed) -> None:
    history = train(tiny_model("vit"), Constant(), feed, tiny_recipe(epochs=1), report=lambda metrics: None)
    # Neither is diluted by the others' batches; the loss is the mean over all steps.
    assert history[0]["usual_loss"] == pytest.approx(1)
    assert history[0]["extra_loss"] == pytest.approx(5)
    assert history[0]["loss"] == pytest.approx((USUAL * 1 + EXTRA * 5) / (USUAL + EXTRA))


def test_first_sub_captions_as_a_table(tmp_path: Path, captions: list[str]) -> None:
    found = source(captions)
    found.write(tmp_path / "some.csv", BATCH_SIZE, 20)
    found.write(tmp_path / "all.csv", BATCH_SIZE, 1000)
    with (tmp_path / "some.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # What the first epoch trains on, in its order.
    drawn = found.draw(0, BATCH_SIZE).flatten()[:20].tolist()
    assert [int(row["sample"]) for row in rows] == drawn
    for row, sample in zip(rows, drawn, strict=True):
        made = found.sub_captions(0, sample)
        expected = {"caption": captions[sample], "factual": made.factual, "counterfactual": made.counterfactual}
        assert row == {"sample": str(sample)} | expected
    # No more than the epoch has.
    assert len((tmp_path / "all.csv").read_text(encoding="utf-8").splitlines()) == 1 + EXTRA * BATCH_SIZE
