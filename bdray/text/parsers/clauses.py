"""From the text of a caption to clauses of words, before anything is known about the words."""

import re
from collections.abc import Iterator, Sequence

_LETTER = r"[^\x00-`{-¿\s\d\u2010-\u206f\u3000-\u303f]"
"""What :func:`~bdray.text.words.split_words` keeps, in lower case."""

_WORD = re.compile(
    rf"""
    '(?:s|re|ll|d)\b | n't\b | {_LETTER}+(?=n't\b)  # what an apostrophe contracts, and what is before it
    | {_LETTER}+(?:[-&]{_LETTER}+)*
    | \d[\w.]*\b
    | [&,.;:!?|()]
    """,
    re.VERBOSE,
)
_ENDS = frozenset(".;:!?|()")
_QUOTES = str.maketrans("’‘–—", "''--")
_NOT_AFTER_HYPHEN = r"[a-z]+ing\b|(?:new|the|an?|by|at|in|with|photo|stock|vector|image)\b"
_SPACED_HYPHEN = re.compile(rf"(?<=[a-z]) - (?=[a-z])(?!{_NOT_AFTER_HYPHEN})|(?<=\bclose) (?=up of\b)")
"""As Conceptual Captions have it (``t - shirt``, but ``an actor - looking happy``); and ``close up of``, a noun."""

_DASH = re.compile(r" -+ |--+")

_FIXED = (
    "to the left of", "to the right of", "on the left of", "on the right of", "left of", "right of", "in front of",
    "on top of", "next to", "close to", "away from", "out of", "inside of", "outside of", "because of", "instead of",
    "along with", "together with", "such as", "in between", "in the middle of", "in the midst of", "ahead of",
    "due to", "thanks to", "according to", "off of", "at the back of", "in the back of", "in the center of",
    "in the centre of", "side by side with", "across from",
)  # fmt: skip
"""Prepositions of several words."""
_FIXED_BY_START: dict[str, list[list[str]]] = {}
for _words in sorted((fixed.split() for fixed in _FIXED), key=len, reverse=True):
    _FIXED_BY_START.setdefault(_words[0], []).append(_words)

LONGEST_CLAUSE = 60
"""In words; longer runs without punctuation are cut, so that the chunker's work stays proportional to the length."""


def split_clauses(caption: str) -> list[list[str]]:
    """Lower-case words with commas, without other punctuation, split where a sentence ends.

    >>> split_clauses("A cat, in front of a t - shirt. It's red!")
    [['a', 'cat', ',', 'in front of', 'a', 't-shirt'], ['it', "'s", 'red']]
    """
    text = _DASH.sub(" , ", _SPACED_HYPHEN.sub("-", caption.lower().translate(_QUOTES)))
    clauses: list[list[str]] = [[]]
    for word in _WORD.findall(text):
        if word in _ENDS or len(clauses[-1]) == LONGEST_CLAUSE:
            clauses.append([])
        if word not in _ENDS:
            clauses[-1].append(word)
    return [list(_joined(clause)) for clause in clauses if any(word != "," for word in clause)]


def _joined(words: Sequence[str]) -> Iterator[str]:
    at = 0
    while at < len(words):
        fixed = next((f for f in _FIXED_BY_START.get(words[at], ()) if words[at : at + len(f)] == f), [words[at]])
        yield " ".join(fixed)
        at += len(fixed)
