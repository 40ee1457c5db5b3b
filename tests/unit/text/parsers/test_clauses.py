"""Captions as clauses of words."""

import pytest

from bdray.text.parsers.clauses import LONGEST_CLAUSE, split_clauses


@pytest.mark.parametrize(
    ("caption", "clauses"),
    [
        # Sentences end where they end; commas stay, other punctuation goes.
        ("A cat, black. A dog!", [["a", "cat", ",", "black"], ["a", "dog"]]),
        ("breaking news : a cat (asleep)", [["breaking", "news"], ["a", "cat"], ["asleep"]]),
        # What an apostrophe joins is two words.
        ("a dog's toy isn’t here", [["a", "dog", "'s", "toy", "is", "n't", "here"]]),
        ("woman 's hand", [["woman", "'s", "hand"]]),
        # Prepositions of several words are one word.
        (
            "a ball to the left of a box in front of it",
            [["a", "ball", "to the left of", "a", "box", "in front of", "it"]],
        ),
        # The spaced hyphens of Conceptual Captions join words; dashes are like commas.
        ("close - up of a t - shirt", [["close-up", "of", "a", "t-shirt"]]),
        ("close up of a cat", [["close-up", "of", "a", "cat"]]),
        ("an actor - looking happy -- again", [["an", "actor", ",", "looking", "happy", ",", "again"]]),
        ("2 dogs, 3d", [["2", "dogs", ",", "3d"]]),
        # Letters beyond a-z, with their vowel signs, and emoji stay whole.
        ("दो लड़के, naïve 🍌", [["दो", "लड़के", ",", "naïve", "🍌"]]),
        ("", []),
        (" ,; - !", []),
    ],
)
def test_split_clauses(caption: str, clauses: list[list[str]]) -> None:
    assert split_clauses(caption) == clauses


def test_long_clauses_are_cut() -> None:
    clauses = split_clauses("red " * 500)
    # Nothing is lost, and no clause is longer than the chunker can take.
    assert sum(map(len, clauses)) == 500
    assert max(map(len, clauses)) == LONGEST_CLAUSE
