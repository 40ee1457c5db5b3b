"""Corrections of tags by their context, in the manner of Brill's tagger, that any tagger's output may need."""

from collections.abc import Sequence

from bdray.text.parsers.caption_words import COLORS, COMPOUND_PARTICIPLES

TaggedWords = Sequence[tuple[str, str]]
"""The words of one clause with the tags of :mod:`~bdray.text.parsers.function_words`."""


def repair(tagged: TaggedWords) -> list[tuple[str, str]]:
    """Correct a clause: ``as`` may open another clause, ``drawing of`` is a noun, colors and compounds adjectives."""
    repaired: list[tuple[str, str]] = []
    for at, (word, tag) in enumerate(tagged):
        next_word, next_tag = tagged[at + 1] if at + 1 < len(tagged) else ("", "")
        if word == "as" and _opens_clause(tagged[at + 1 :]):
            repaired.append((word, "W"))
        elif tag == "VBG" and next_word == "of":
            repaired.append((word, "NN"))
        elif word in COLORS and next_tag in ("NN", "NNS", "JJ"):
            repaired.append((word, "JJ"))
        elif word in COMPOUND_PARTICIPLES and next_tag in ("NN", "NNS") and repaired and repaired[-1][1] == "NN":
            repaired.append((f"{repaired.pop()[0]} {word}", "JJ"))
        else:
            repaired.append((word, tag))
    return repaired


def _opens_clause(rest: TaggedWords) -> bool:
    """Whether what follows ``as`` has a verb of its own (``as the ship leaves``)."""
    tags = [tag for _, tag in rest]
    end = next((at for at, tag in enumerate(tags) if tag in ("VBZ", "BE", "MD", "VBN", "IN", ",")), None)
    return tags[:1] == ["PRP"] or (end is not None and tags[end] in ("VBZ", "BE", "MD"))
