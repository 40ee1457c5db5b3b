"""Where synonyms come from: WordNet (Miller 1995), either the extract shipped with bdray or all of it through NLTK."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from bdray.exceptions import DataError
from bdray.text.words import split_words

SHIPPED = Path(__file__).parent / "data" / "synonyms.json"
"""The shipped extract, written by ``scripts/build_synonyms.py``, which says what it holds."""

Lookup = Callable[[str], Sequence[str]]
"""From a lower-case word to its synonyms in a fixed order; empty if it has none."""

Source = Literal["shipped", "nltk"]

_ENDINGS = (("ies", "y"), ("s", ""), ("es", ""), ("ied", "y"), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", ""))
_SHORTEST_STEM = 3
"""In letters, so that ``seed`` and ``weed`` are not taken for forms of ``see`` and ``wee``."""


def shipped_synonyms(word: str) -> Sequence[str]:
    """Single-word synonyms in the shipped extract; a regular inflection (``boxes``) has those of its base (``box``)."""
    table = _shipped_table()
    return next((table[form] for form in _base_forms(word) if form in table), ())


@cache
def nltk_synonyms(word: str) -> Sequence[str]:
    """Synonyms in all of WordNet, some of several words, by the rule of EDA's public code: every lemma of every sense.

    Raises:
        DataError: If NLTK's ``wordnet`` corpus is not installed.
    """
    names = (name for synset in _nltk_wordnet().synsets(word) for name in synset.lemma_names())
    return tuple(sorted({" ".join(split_words(name)) for name in names} - {word, ""}))


LOOKUPS: Mapping[Source, Lookup] = {"shipped": shipped_synonyms, "nltk": nltk_synonyms}


def _base_forms(word: str) -> Iterator[str]:
    """The word itself, then what WordNet's rules of detachment make of it; most of these are no words at all."""
    yield word
    for ending, replacement in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            yield word.removesuffix(ending) + replacement


@cache
def _shipped_table() -> dict[str, list[str]]:
    table: dict[str, list[str]] = json.loads(SHIPPED.read_text(encoding="utf-8"))
    return table


@cache
def _nltk_wordnet() -> Any:
    # Importing NLTK takes most of a second, and few runs need it.
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError as error:
        raise DataError(
            "synonyms: 'nltk' needs NLTK's WordNet corpus, which is not installed on this machine. "
            "Install it with `python -m nltk.downloader wordnet`, or choose synonyms: shipped."
        ) from error
    return wordnet
