"""Factual and counterfactual sub-captions of CleanerCLIP (arXiv 2409.17601, section 3.2)."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bdray.text.likeness import relations_alike, words_alike
from bdray.text.parsers.base import CaptionParser, ParsedCaption, Phrase
from bdray.text.repositories import Repositories, shipped_repositories

Replacement = Literal["adjectives", "relation", "nouns"]
"""What a counterfactual sub-caption has other than the caption."""
REPLACEMENTS: tuple[Replacement, ...] = ("adjectives", "relation", "nouns")

MOST_ADJECTIVES = 1
"""Of each noun. The paper's template has one; its text says that adjectives are simplified or omitted."""
TRIES = 100
"""Draws before a repository is searched for words that say something else."""


@dataclass(frozen=True)
class SubCaptions:
    """A caption with what is made of it."""

    caption: str
    factual: str
    """The positive sub-caption."""
    counterfactual: str
    """The negative sub-caption."""


def make_sub_captions(
    captions: Iterable[str], parser: CaptionParser, seed: int, most_adjectives: int = MOST_ADJECTIVES
) -> Iterator[SubCaptions]:
    """Both sub-captions of each caption, a pure function of caption, position and seed.

    A caption without words is its own factual sub-caption.

    Raises:
        DataError: If a resource that the parser needs is not installed.
    """
    for index, caption in enumerate(captions):
        parsed = simplify(parser.parse(caption), most_adjectives)
        rng = random.Random(f"{seed}/{index}")
        yield SubCaptions(caption, factual(parsed) or caption, counterfactual(parsed, rng))


def simplify(parsed: ParsedCaption, most_adjectives: int = MOST_ADJECTIVES) -> ParsedCaption:
    """Keep so many adjectives of each noun, those that are nearest to it (of a large red ball, ``red``)."""
    subject, object_ = parsed.subject, parsed.object
    return replace(
        parsed,
        subject=replace(subject, adjectives=_last(subject.adjectives, most_adjectives)),
        object=object_ and replace(object_, adjectives=_last(object_.adjectives, most_adjectives)),
    )


def factual(parsed: ParsedCaption) -> str:
    """The positive sub-caption: ``(adjectives) subject relation (adjectives) object``, as far as the caption has them.

    A caption that says no more than what it shows (``a picture of an apple``) gives that word (``apple``); one without
    words gives nothing.
    """
    parts = (str(parsed.subject), parsed.relation, str(parsed.object or ""))
    return " ".join(part for part in parts if part)


def counterfactual(
    parsed: ParsedCaption,
    rng: random.Random,
    repositories: Repositories | None = None,
    kinds: Sequence[Replacement] = REPLACEMENTS,
) -> str:
    """The negative sub-caption: the factual one with other adjectives, another relation, or other nouns.

    The kind is drawn uniformly among those that the caption has; the paper draws one, and another where that is
    missing, which is the same. Every word of the kind is replaced, each by one that is no form and no synonym of any
    word replaced.

    Args:
        parsed: What the caption says, with the adjectives that are to be kept.
        rng: The only source of randomness.
        repositories: The replacements; by default the shipped ones.
        kinds: The kinds to draw from. Nouns are replaced where the caption has none of them.

    Raises:
        ValueError: If a repository holds no word that says something else.
    """
    has: Mapping[Replacement, bool] = {
        "adjectives": bool(parsed.subject.adjectives or (parsed.object and parsed.object.adjectives)),
        "relation": bool(parsed.relation),
        "nouns": True,
    }
    present: list[Replacement] = [kind for kind in kinds if has[kind]]
    kind = rng.choice(present) if present else "nouns"
    return factual(_REPLACE[kind](parsed, rng, repositories or shipped_repositories()))


def _replace_adjectives(parsed: ParsedCaption, rng: random.Random, repositories: Repositories) -> ParsedCaption:
    phrases = [parsed.subject, *([parsed.object] if parsed.object else [])]
    avoid = [adjective for phrase in phrases for adjective in phrase.adjectives]

    def other(phrase: Phrase) -> Phrase:
        return replace(phrase, adjectives=tuple(_draw(repositories.adjectives, avoid, rng) for _ in phrase.adjectives))

    return replace(parsed, subject=other(parsed.subject), object=parsed.object and other(parsed.object))


def _replace_relation(parsed: ParsedCaption, rng: random.Random, repositories: Repositories) -> ParsedCaption:
    relations = repositories.relations if parsed.object else repositories.complete_relations
    return replace(parsed, relation=_draw(relations, [parsed.relation], rng, relations_alike))


def _replace_nouns(parsed: ParsedCaption, rng: random.Random, repositories: Repositories) -> ParsedCaption:
    avoid = [*parsed.subject.noun.split(), *(parsed.object.noun.split() if parsed.object else ())]

    def other(phrase: Phrase) -> Phrase:
        return replace(phrase, noun=_draw(repositories.nouns, avoid, rng))

    return replace(parsed, subject=other(parsed.subject), object=parsed.object and other(parsed.object))


_REPLACE: Mapping[Replacement, Callable[[ParsedCaption, random.Random, Repositories], ParsedCaption]] = {
    "adjectives": _replace_adjectives,
    "relation": _replace_relation,
    "nouns": _replace_nouns,
}


def _draw(
    words: Sequence[str],
    avoid: list[str],
    rng: random.Random,
    alike: Callable[[str, str], bool] = words_alike,
) -> str:
    """A word that is like none of those to avoid, and is to be avoided from now on."""

    def is_new(word: str) -> bool:
        return not any(alike(word, other) for other in avoid)

    drawn = next((word for word in (rng.choice(words) for _ in range(TRIES)) if is_new(word)), None)
    if drawn is None:
        left = [word for word in words if is_new(word)]
        if not left:
            raise ValueError(f"all {len(words)} replacements are like one of {', '.join(avoid)}; add others.")
        drawn = rng.choice(left)
    avoid.append(drawn)
    return drawn


def _last(words: tuple[str, ...], count: int) -> tuple[str, ...]:
    return words[max(0, len(words) - count) :]
