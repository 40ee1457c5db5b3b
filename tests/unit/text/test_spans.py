"""Contiguous spans of a caption."""

import random
from collections import Counter

import pytest

from bdray.text.spans import Span

WORDS = [f"w{letter}" for letter in "abcdefghijklmnopqrst"]
CAPTION = " ".join(WORDS)


def lengths(span: Span, num_draws: int = 4000) -> Counter[int]:
    rng = random.Random(0)
    return Counter(len(span.augment(CAPTION, rng).split()) for _ in range(num_draws))


def test_spans_are_contiguous() -> None:
    runs = {" ".join(WORDS[start:end]) for start in range(20) for end in range(start + 2, 21)}
    # Whatever is drawn is one of the runs of two words or more.
    assert {Span().augment(CAPTION, random.Random(seed)) for seed in range(300)} <= runs


def test_lengths_follow_the_beta_distribution() -> None:
    counts = lengths(Span(shortest=2))
    mean = sum(length * count for length, count in counts.items()) / counts.total()
    # floor(p 18 + 2) with E[p] = 4/6: 14 less half a word for the floor; five standard errors are 0.25.
    assert mean == pytest.approx(13.5, abs=0.25)
    assert min(counts) >= 2
    # DeCLUTR's positives, Beta(2, 4), are short: 18/3 + 2 - 0.5.
    counts = lengths(Span(alpha=2, beta=4))
    assert sum(length * count for length, count in counts.items()) / counts.total() == pytest.approx(7.5, abs=0.25)


def test_starts_are_uniform() -> None:
    rng = random.Random(0)
    starts = Counter(Span(alpha=1e-9, beta=1).augment(CAPTION, rng).split()[0] for _ in range(3800))
    # Spans of the shortest length start at any of 19 places, 200 times each (five standard errors are 69).
    assert len(starts) == 19
    assert all(abs(count - 200) < 69 for count in starts.values())


@pytest.mark.parametrize("caption", ["banana", "red ball"])
def test_short_captions_are_kept_whole(caption: str) -> None:
    assert {Span(shortest=2).augment(caption, random.Random(seed)) for seed in range(20)} == {caption}
    assert {Span(shortest=9).augment(caption, random.Random(seed)) for seed in range(20)} == {caption}


def test_the_whole_caption_is_the_longest_span() -> None:
    # With nearly all of the mass at 1, all but the last word at most is kept.
    assert set(lengths(Span(alpha=1e9, beta=1e-9), 50)) <= {19, 20}
