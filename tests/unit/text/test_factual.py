"""Factual sub-captions as an augmentation."""

import random

from bdray.text.factual import Factual

CAPTION = "a photo of a small red ball on the grass next to a large house"


def made(augmentation: Factual, caption: str = CAPTION) -> set[str]:
    return {augmentation.augment(caption, random.Random(seed)) for seed in range(200)}


def test_main_statement_without_chance() -> None:
    # The paper's sub-caption, whatever the seed.
    assert made(Factual(omission=0, statement="main")) == {"small red ball on grass"}
    assert made(Factual(omission=1, statement="main")) == {"ball on grass"}


def test_adjectives_are_left_out_one_by_one() -> None:
    assert made(Factual(statement="main")) == {
        "small red ball on grass",
        "small ball on grass",
        "red ball on grass",
        "ball on grass",
    }


def test_any_statement() -> None:
    # Both relations of the subject get their turn.
    assert made(Factual(omission=0)) == {"small red ball on grass", "small red ball next to large house"}


def test_share_of_adjectives_left_out() -> None:
    rng = random.Random(0)
    augmentation = Factual(omission=0.25)
    kept = sum("red" in augmentation.augment("a red ball", rng) for _ in range(4000))
    # A quarter is left out (five standard errors are 0.034).
    assert abs(1 - kept / 4000 - 0.25) < 0.034


def test_a_word_is_kept_as_it_is() -> None:
    assert made(Factual(), "banana") == {"banana"}
