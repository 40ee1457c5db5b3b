"""Subject, relation and object from phrases, by the rules of English word order."""

import itertools
from collections.abc import Iterator, Sequence

from bdray.text.parsers.base import ParsedCaption, Phrase
from bdray.text.parsers.caption_words import ADVERBIAL, AUXILIARIES, DANGLING, LINKING, TIMES
from bdray.text.parsers.chunks import Chunk, find_chunks
from bdray.text.parsers.repairs import TaggedWords
from bdray.text.words import split_words

Ranked = tuple[int, ParsedCaption]
"""A statement and how far it is from being the main one."""

RANKS = {"FINITE": 0, "PARTICIPLE": 1, "INFINITIVE": 2, "PREPOSITION": 3}
OF_RANK = 4
"""``of`` comes last: the roof of a house in the woods is, before all, in the woods."""


def state(caption: str, clauses: Sequence[TaggedWords]) -> list[ParsedCaption]:
    """What the tagged clauses of a caption say; without a noun, their last word is the subject."""
    words = split_words(caption)
    return find_statements(clauses) or [ParsedCaption(Phrase(words[-1] if words else ""))]


def find_statements(clauses: Sequence[TaggedWords]) -> list[ParsedCaption]:
    """All that the first clause with a relation says of its subject, the main statement first.

    Returns:
        An empty list if there is no noun in any clause. A single statement without relation if there is no relation.
    """
    found = [statements for clause in clauses if (statements := _of_clause(find_chunks(clause)))]
    return next((statements for statements in found if statements[0].relation), found[0] if found else [])


def _of_clause(chunks: Sequence[Chunk]) -> list[ParsedCaption]:
    first = next((at for at, part in enumerate(chunks) if part.kind == "NOUN"), None)
    if first is None:
        return []
    subject = chunks[first].phrase
    if any(part.kind in ("FINITE", "PARTICIPLE", "INFINITIVE", "COPULA", "PRP", "W") for part in chunks[:first]):
        return [ParsedCaption(subject)]  # "how to draw a dragon" has no subject of which something is said
    ranked = sorted(_ranked(chunks, first, subject), key=lambda pair: pair[0])
    return [statement for _, statement in ranked] or [ParsedCaption(subject)]


def _ranked(chunks: Sequence[Chunk], first: int, subject: Phrase) -> Iterator[Ranked]:
    """Statements in the order of the caption."""
    for at in _after_subject(chunks, first):
        kind = chunks[at].kind
        if kind == "COPULA":
            yield from _of_copula(chunks, at, subject)
        elif kind in RANKS:
            relation, object_ = _complete(chunks, at)
            if object_ or kind != "PREPOSITION":
                yield OF_RANK if relation == "of" else RANKS[kind], ParsedCaption(subject, relation, object_)


def _after_subject(chunks: Sequence[Chunk], first: int) -> Iterator[int]:
    """Places of the chunks that may say something of the subject."""
    at = first + 1
    while at < len(chunks) and chunks[at].kind != "W":
        if chunks[at].kind == "," and (after := _after_aside(chunks, at)):
            at = after
        else:
            yield at
            at += 1


def _after_aside(chunks: Sequence[Chunk], comma: int) -> int | None:
    """Where ``, a retired teacher ,`` or ``, which opened last year ,`` ends, if a verb follows it."""
    following = chunks[comma + 1 :]
    closing = next((at for at, part in enumerate(following) if part.kind == ","), len(following))
    if closing + 1 >= len(following) or following[0].kind not in ("NOUN", "W"):
        return None
    return comma + closing + 2 if following[closing + 1].kind in ("FINITE", "PARTICIPLE", "COPULA") else None


def _of_copula(chunks: Sequence[Chunk], at: int, subject: Phrase) -> Iterator[Ranked]:
    """``is a bird``, ``is blue and clear`` (an adjective of the subject), ``is on the table``."""
    rest = [part for part in chunks[at + 1 :] if part.kind != "RB"]
    adjectives: list[str] = []
    while rest and rest[0].kind in ("JJ", "CC", ","):
        adjectives += [word for word, tag in rest.pop(0).words if tag == "JJ"]
    predicated = Phrase(subject.noun, (*adjectives, *subject.adjectives))
    if rest and rest[0].kind == "NOUN" and not adjectives:
        yield 0, ParsedCaption(subject, chunks[at].last, rest[0].phrase)
    elif rest and rest[0].kind == "PREPOSITION":
        relation, object_ = _complete(rest, 0)
        if object_:
            yield 0, ParsedCaption(predicated, relation, object_)
    elif adjectives:
        yield 0, ParsedCaption(predicated)


def _complete(chunks: Sequence[Chunk], at: int) -> tuple[str, Phrase | None]:
    """The relation that starts here, and its object."""
    words = _content(chunks[at])
    for before, part in itertools.pairwise(chunks[at:]):
        if part.kind == "NOUN" and part.last in TIMES and part.first in ("last", "next", "this", "every"):
            continue
        if part.kind == "NOUN":
            return " ".join(words), part.phrase
        if part.kind in ("PREPOSITION", "INFINITIVE") or (part.kind == "PARTICIPLE" and _continues(before)):
            words += _content(part)
        elif part.kind not in ("RB", "JJ") and words[-1] not in LINKING:
            break
    while len(words) > 1 and words[-1] in DANGLING:
        words.pop()
    return " ".join(words), None


def _continues(before: Chunk) -> bool:
    """Whether a participle after this goes on with the relation (``celebrates scoring``, ``after scoring``)."""
    if before.kind == "PREPOSITION":
        return before.last not in ADVERBIAL
    return before.kind == "FINITE" and before.last not in LINKING


def _content(part: Chunk) -> list[str]:
    """Words without auxiliaries and adverbs."""
    words = [word for word, tag in part.words if tag not in ("MD", "RB", "BE")]
    return words[1:] if len(words) > 1 and words[0] in AUXILIARIES else words
