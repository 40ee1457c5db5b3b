"""What every caption augmentation keeps: pure in (caption, rng), and words stay where there were words."""

import random

import pytest

from bdray.data.scenes import render
from bdray.testing import example
from bdray.text.base import TextAugmentation
from bdray.text.words import split_words

CAPTIONS = [
    *render(0, "train", 0)[1][:20],
    "banana",
    "a",
    "A Photo, of TWO dogs' toys!",
    "日本の寺",
    "naïve café 🍌",
    "word " * 300,
]
WITHOUT_WORDS = ["", "   ", "!?", "12 34"]
MEMBERS = [pytest.param(member, id=name) for name, member in TextAugmentation.members().items()]
every_augmentation = pytest.mark.parametrize("member", MEMBERS)


def make(member: type[TextAugmentation]) -> TextAugmentation:
    augmentation = example(member)
    assert isinstance(augmentation, TextAugmentation)
    return augmentation


@every_augmentation
def test_it_is_pure_in_caption_and_randomness(member: type[TextAugmentation]) -> None:
    random.seed(0)
    before = random.getstate()
    for caption in [*CAPTIONS, *WITHOUT_WORDS]:
        for seed in range(5):
            found = make(member).augment(caption, random.Random(seed))
            # Another object, another process, the global generator at another state: the same answer.
            assert make(member).augment(caption, random.Random(seed)) == found
    # The global generator has not moved.
    assert random.getstate() == before


@every_augmentation
def test_a_caption_with_words_keeps_some(member: type[TextAugmentation]) -> None:
    for caption in CAPTIONS:
        for seed in range(20):
            assert split_words(make(member).augment(caption, random.Random(seed))), caption


@every_augmentation
def test_a_caption_without_words_comes_back(member: type[TextAugmentation]) -> None:
    for caption in WITHOUT_WORDS:
        assert make(member).augment(caption, random.Random(0)) == caption


@every_augmentation
def test_it_augments(member: type[TextAugmentation]) -> None:
    caption = "a photo of a small red ball on the grass next to a large house"
    found = {make(member).augment(caption, random.Random(seed)) for seed in range(50)}
    # Different randomness gives different captions, most of them not the one given.
    assert len(found) > 10
    assert len(found - {caption}) > 10
