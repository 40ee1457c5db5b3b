"""From the tags that trained taggers give to those of :mod:`~bdray.text.parsers.function_words`."""

from collections.abc import Callable, Mapping, Sequence

from bdray.text.parsers.function_words import FUNCTION_WORDS

Tagger = Callable[[list[str]], Sequence[str]]
"""From the words of one clause to their tags in the Penn Treebank."""

_TAGS: Mapping[str, str] = {
    "NNP": "NN", "NNPS": "NNS", "FW": "NN", "SYM": "NN", "LS": "NN", "ADD": "NN", "GW": "NN", "XX": "NN",
    "JJR": "JJ", "JJS": "JJ", "AFX": "JJ", "RBR": "RB", "RBS": "RB", "UH": "RB", "RP": "IN", "PDT": "DT",
    "VBD": "VBN", "VBP": "VB", "WDT": "W", "WP": "W", "WP$": "W", "WRB": "W",
}  # fmt: skip
_KNOWN = frozenset(_TAGS.values()) | {"CD", "CC", "EX", "MD", "PRP", "PRP$", "TO", "VBG", "VBZ", "POS", ","}


def tag_with(tagger: Tagger, clause: Sequence[str]) -> list[tuple[str, str]]:
    """Tag one clause; words that can be one thing only, and prepositions of several words, are tagged by our lists."""
    single = ["in" if " " in word else word for word in clause]
    return [(word, _own_tag(word, tag)) for word, tag in zip(clause, tagger(single), strict=True)]


def _own_tag(word: str, tag: str) -> str:
    known = FUNCTION_WORDS.get(word, {})
    if " " in word:
        return "IN"
    if len(known) == 1:
        return next(iter(known))
    tag = _TAGS.get(tag, tag)
    return tag if tag in _KNOWN else "NN"
