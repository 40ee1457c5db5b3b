"""Whether a replacement says something else, or the same in other words."""

from bdray.text.parsers.function_words import FUNCTION_WORDS
from bdray.text.parsers.lexicon_tagger import base_forms
from bdray.text.synonyms import shipped_synonyms

_ALIKE = (
    ("on", "atop", "onto", "upon", "on top of", "aboard"),
    ("in", "inside", "into", "within", "inside of", "in the middle of", "in the center of", "in the centre of"),
    ("above", "over"),
    ("under", "below", "beneath", "underneath"),
    ("next to", "beside", "besides", "by", "near", "close to", "alongside", "at", "nearby"),
    ("to the left of", "left of", "on the left of"),
    ("to the right of", "right of", "on the right of"),
    ("in front of", "ahead of", "before"),
    ("behind", "after", "at the back of", "in the back of"),
    ("out of", "away from", "off", "off of", "from", "far from"),
    ("outside", "outside of"),
    ("toward", "towards", "to", "up to"),
    ("around", "about", "round"),
    ("between", "among", "amongst", "amid", "amidst", "in between", "in the midst of"),
    ("with", "along with", "together with"),
    ("along", "down", "up"),
    ("across", "through", "via"),
)
"""Prepositions that may stand for each other."""
_PREPOSITIONS = {word: (word,) for word, tags in FUNCTION_WORDS.items() if "IN" in tags} | {
    preposition: group for group in _ALIKE for preposition in group
}


def words_alike(first: str, second: str) -> bool:
    """Whether two words are forms of one word (``boy`` and ``boys``) or shipped synonyms of each other."""
    forms, others = base_forms(first), base_forms(second)
    return bool(
        forms & others or forms.intersection(shipped_synonyms(second)) or others.intersection(shipped_synonyms(first))
    )


def relations_alike(first: str, second: str) -> bool:
    """Whether two relations may be the same.

    They are if their verbs are alike, or if at most one of them has a verb and their prepositions are alike: ``on`` and
    ``sitting on`` may be the same, ``standing on`` and ``sitting on`` are not.
    """
    (verb, preposition), (other_verb, other_preposition) = _split(first), _split(second)
    if verb and other_verb:
        return words_alike(verb, other_verb)
    return other_preposition in _PREPOSITIONS.get(preposition, (preposition,))


def _split(relation: str) -> tuple[str, str]:
    """The first word, if it is a verb, and the last preposition; either may be empty."""
    words = relation.split()
    for at in range(len(words)):
        if (preposition := " ".join(words[at:])) in _PREPOSITIONS:
            return words[0] if at else "", preposition
    return (words[0] if words else ""), ""
