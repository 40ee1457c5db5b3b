"""Phrases of a clause, by NLTK's chunker (Bird, Klein & Loper 2009, section 7.2)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from bdray.text.parsers.base import Phrase
from bdray.text.parsers.caption_words import DEPICTIONS, QUANTITIES, SHOWS
from bdray.text.parsers.repairs import TaggedWords, repair

GRAMMAR = r"""
    NOUN: {(<DT|PRP\$|CD>*<RB>?<JJ>*<NN|NNS>+<POS>)*<DT|PRP\$|CD>*(<RB>?<JJ>)*(<JJ><CC|,><RB>?<JJ>+)*<CD>*<NN|NNS>+}
    INFINITIVE: {<TO><RB>?(<BE><VBN>|<VB>)}
    FINITE: {<MD|VBZ|VB>?<RB>*<BE><RB>*<BE>?<RB>*<VBG|VBN>}
            {<MD><RB>*<VB>}
            {<VBZ|VB><RB>*<VBN>?}
    PARTICIPLE: {<VBG|VBN>}
    COPULA: {<MD>?<RB>*<BE>+}
    PREPOSITION: {<IN|TO>+}
"""
LONGEST_COMPOUND = 4
"""In words; longer runs of nouns are lists or another language."""


@dataclass(frozen=True)
class Chunk:
    """A phrase, or a word outside of all phrases, whose tag is then its kind."""

    kind: str
    words: TaggedWords

    @property
    def first(self) -> str:
        """The first word."""
        return self.words[0][0]

    @property
    def last(self) -> str:
        """The last word, which is the head of a NOUN."""
        return self.words[-1][0]

    @property
    def phrase(self) -> Phrase:
        """Of a NOUN: what follows the last possessive."""
        start = max((at + 1 for at, (_, tag) in enumerate(self.words) if tag == "POS"), default=0)
        nouns = [word for word, tag in self.words[start:] if tag in ("NN", "NNS")]
        adjectives = tuple(word for word, tag in self.words[start:] if tag == "JJ")
        return Phrase(" ".join(nouns[-LONGEST_COMPOUND:]), adjectives)


def find_chunks(clause: TaggedWords) -> list[Chunk]:
    """The phrases of a clause from its subject on, without those that say nothing of what is to be seen."""
    tree = _chunker().parse(repair(clause))
    chunks = [Chunk(part.label(), list(part)) if hasattr(part, "label") else Chunk(part[1], [part]) for part in tree]
    return _without_depictions(_without_lead(chunks))


def _without_lead(chunks: list[Chunk]) -> list[Chunk]:
    """Leave out ``in this photo ,`` and then ``there is``, ``this is``."""
    if chunks and chunks[0].kind in ("PREPOSITION", "RB") and any(part.kind == "PREPOSITION" for part in chunks[:2]):
        comma = next((at for at, part in enumerate(chunks) if part.kind == ","), len(chunks))
        if any(part.kind == "NOUN" for part in chunks[comma:]):
            chunks = chunks[comma + 1 :]
    while len(chunks) > 1 and chunks[0].kind in ("EX", "DT", "PRP", "RB") and chunks[1].kind == "COPULA":
        chunks = chunks[2:]
    return chunks


def _without_depictions(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Leave out ``a picture of``, ``a photo showing``, ``a group of``, ``one of``."""
    kept: list[Chunk] = []
    at = 0
    while at < len(chunks):
        here, *following = chunks[at : at + 3]
        before_noun = len(following) == 2 and following[1].kind == "NOUN"
        if before_noun and following[0].first == "of":
            is_empty = here.kind == "CD" or (here.kind == "NOUN" and here.last in DEPICTIONS | QUANTITIES)
        else:
            is_empty = before_noun and following[0].first in SHOWS and here.kind == "NOUN" and here.last in DEPICTIONS
        if is_empty:
            at += 2
        else:
            kept.append(here)
            at += 1
    return kept


@cache
def load_nltk() -> Any:
    """Import NLTK, which takes most of a second, and which few runs need."""
    state = random.getstate()
    import nltk

    random.setstate(state)  # a library that NLTK imports draws from the global generator
    return nltk


@cache
def _chunker() -> Any:
    return load_nltk().RegexpParser(GRAMMAR)
