"""EDA: four small random edits of a caption."""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bdray.registry import component
from bdray.text.base import TextAugmentation
from bdray.text.synonyms import LOOKUPS, Lookup, Source
from bdray.text.words import STOP_WORDS, split_words

Alpha = Annotated[float, Field(ge=0, le=1)]
Operation = Callable[[Sequence[str], float, random.Random], list[str]]
"""From the words of a caption (at least one), alpha > 0 and a source of randomness to new words (at least one)."""


@component
class Eda(TextAugmentation):
    """Easy data augmentation (Wei & Zou, EMNLP 2019, section 2), the text augmentation of CleanCLIP (appendix D.2).

    Each call draws one of the four operations, uniformly among those whose alpha is above 0, and applies it once.
    The EDA paper makes several sentences from one, spread over the operations. CleanCLIP's text says no more than
    "EDA"; its data loader makes one augmented caption for each sample, when the data set is built. The ``utils/eda.py``
    in the public code of BadCLIP, which descends from CleanCLIP's, makes one sentence by each operation and keeps a
    random one of the four, all alphas 0.1: the same draw as here. CleanCLIP's own copy of that file we have not seen.

    Captions come back in lower case without digits and punctuation, as in EDA's public code (see
    :func:`~bdray.text.words.split_words`); CLIP's tokenizer lowers case anyway. A caption without words comes back
    unchanged.

    Deviations from EDA's public code. Towards the paper's text: insertion takes no synonyms of stop words and may
    append; it draws the synonym, where that code takes the first of an unordered set; a swap always moves two words.
    Our own: insertion takes synonyms of the caption's words only, not of inserted ones; letters beyond a-z are kept;
    by default synonyms are single words of common senses (see ``synonyms``).
    """

    type: Literal["eda"] = "eda"

    synonym_replacement: Alpha = 0.1
    """Share of words to replace by a synonym, at least one word (alpha_sr in the paper); 0 leaves the operation out."""

    random_insertion: Alpha = 0.1
    """Synonyms to insert, as a share of words, at least one (alpha_ri); 0 leaves the operation out."""

    random_swap: Alpha = 0.1
    """Swaps of two words, as a share of words, at least one (alpha_rs); 0 leaves the operation out."""

    random_deletion: Alpha = 0.1
    """Probability of each word to be deleted (p, alpha_rd); 0 leaves the operation out."""

    synonyms: Source = "shipped"
    """``shipped``: built-in extract of WordNet, single words of common senses. ``nltk``: all of WordNet as in EDA's
    public code, which needs the corpus (``python -m nltk.downloader wordnet``) on every machine that trains."""

    @model_validator(mode="after")
    def _leaves_an_operation(self) -> Self:
        if not any((self.synonym_replacement, self.random_insertion, self.random_swap, self.random_deletion)):
            raise ValueError(
                "at least one of synonym_replacement, random_insertion, random_swap, random_deletion must be above 0"
            )
        return self

    def check(self) -> None:
        LOOKUPS[self.synonyms]("word")

    def augment(self, caption: str, rng: random.Random) -> str:
        words = split_words(caption)
        if not words:
            return caption
        lookup = LOOKUPS[self.synonyms]
        operations: list[tuple[float, Operation]] = [
            (self.synonym_replacement, partial(replace_synonyms, lookup=lookup)),
            (self.random_insertion, partial(insert_synonyms, lookup=lookup)),
            (self.random_swap, swap_words),
            (self.random_deletion, delete_words),
        ]
        alpha, operation = rng.choice([pair for pair in operations if pair[0] > 0])
        return " ".join(operation(words, alpha, rng))


def replace_synonyms(words: Sequence[str], alpha: float, rng: random.Random, *, lookup: Lookup) -> list[str]:
    """Replace some distinct words that have synonyms, wherever they occur; words without synonyms do not count."""
    candidates = list(dict.fromkeys(word for word in words if word not in STOP_WORDS))
    rng.shuffle(candidates)
    replacements: dict[str, str] = {}
    for word in candidates:
        if len(replacements) == _edits(words, alpha):
            break
        if found := lookup(word):
            replacements[word] = rng.choice(found)
    return [replacements.get(word, word) for word in words]


def insert_synonyms(words: Sequence[str], alpha: float, rng: random.Random, *, lookup: Lookup) -> list[str]:
    """Insert synonyms of random words of the caption at random places."""
    synonyms = [found for word in words if word not in STOP_WORDS and (found := lookup(word))]
    longer = list(words)
    for _ in range(_edits(words, alpha) if synonyms else 0):
        longer.insert(rng.randrange(len(longer) + 1), rng.choice(rng.choice(synonyms)))
    return longer


def swap_words(words: Sequence[str], alpha: float, rng: random.Random) -> list[str]:
    """Swap the words at two random places, some times over; later swaps may undo earlier ones."""
    swapped = list(words)
    for _ in range(_edits(words, alpha) if len(words) > 1 else 0):
        first, second = rng.sample(range(len(swapped)), 2)
        swapped[first], swapped[second] = swapped[second], swapped[first]
    return swapped


def delete_words(words: Sequence[str], alpha: float, rng: random.Random) -> list[str]:
    """Delete each word with probability ``alpha``; if that deletes all of them, keep a random one."""
    return [word for word in words if rng.random() >= alpha] or [rng.choice(words)]


def _edits(words: Sequence[str], alpha: float) -> int:
    """The paper's n = alpha * l, at least 1."""
    return max(1, int(alpha * len(words)))
