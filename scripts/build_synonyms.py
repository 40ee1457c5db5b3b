"""Write bdray's shipped synonyms, and WordNet's license beside them, from WordNet 3.0's dictionary files.

    apt-get install wordnet-base
    python scripts/build_synonyms.py

The extract holds every single word that WordNet's frequency data met in text, with the other single words of its
most frequent senses, and irregular inflections of such words. Words that have no such synonym (``banana``) are left
out, and so are synonyms that are names or that are marked as slurs or obscene. File formats: wndb(5WN), morphy(7WN).
"""

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "bdray" / "text" / "data"
PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
MOST_SENSES = 3
"""Senses of a word for each part of speech, most frequent first: later ones are rarely what a caption means."""

UNCOUNTED = frozenset({"beige", "checkered", "cyan", "ecru", "spotted", "teal"})
"""Words of captions that WordNet's frequency data never met; their first sense is taken."""

COARSE_USAGES = frozenset({"disparagement", "ethnic_slur", "obscenity"})
UNMARKED_COARSE = frozenset(
    {"arse", "ballock", "bitch", "bollock", "cunt", "gyp", "pussy", "tart", "titty", "twat", "whore"}
)
"""Coarse words that WordNet leaves unmarked."""

WORD = re.compile("[a-z]{2,}")
Sense = tuple[str, str]
"""Part of speech and byte offset: the name of a synset."""


@dataclass(frozen=True)
class Synset:
    """One line of a data file."""

    words: list[str]
    """In WordNet's spelling, without syntactic markers such as ``(a)``."""

    usages: list[tuple[str, int]]
    """Usage domains (the offset of a noun synset) and the word concerned, counted from 1; 0 is all of them."""


def build(wordnet: Path) -> dict[str, list[str]]:
    """The shipped table: words and their synonyms, both sorted."""
    synsets = dict(_read_synsets(wordnet))
    coarse = _coarse_words(synsets)
    synonyms = {
        word: {other for sense in senses for other in synsets[sense].words if WORD.fullmatch(other)} - coarse - {word}
        for word, senses in _read_common_senses(wordnet).items()
    }
    for form, base in _read_irregular(wordnet):
        if not synonyms.get(form):
            synonyms[form] = synonyms.get(base, set()) - {form}
    return {word: sorted(found) for word, found in sorted(synonyms.items()) if found}


def serialize(table: dict[str, list[str]]) -> str:
    """JSON with one word a line, so that a change shows as a short diff."""
    lines = (f"{json.dumps(word)}:{json.dumps(synonyms, separators=(',', ':'))}" for word, synonyms in table.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def license_text(wordnet: Path) -> str:
    """The license at the head of every data file, where each line starts with its number."""
    lines = (wordnet / "data.noun").read_text(encoding="latin-1").splitlines()
    text = "\n".join(re.sub(r"^  \d+ ", "", line).rstrip() for line in lines if line.startswith("  "))
    return f"synonyms.json is an extract of WordNet 3.0, made by scripts/build_synonyms.py.\n\n{text}\n"


def _read_rows(path: Path) -> Iterator[list[str]]:
    for line in path.read_text(encoding="latin-1").splitlines():
        if not line.startswith("  "):
            yield line.split()


def _read_synsets(wordnet: Path) -> Iterator[tuple[Sense, Synset]]:
    for part in PARTS_OF_SPEECH:
        for row in _read_rows(wordnet / f"data.{part}"):
            pointers_at = 4 + 2 * int(row[3], 16)
            words = [re.sub(r"\(.*\)", "", word) for word in row[4:pointers_at:2]]
            pointers = row[pointers_at + 1 : pointers_at + 1 + 4 * int(row[pointers_at])]
            usages = [
                (target, int(source_target[:2], 16))
                for symbol, target, source_target in zip(pointers[::4], pointers[1::4], pointers[3::4], strict=True)
                if symbol == ";u"
            ]
            yield (part, row[0]), Synset(words, usages)


def _read_common_senses(wordnet: Path) -> dict[str, list[Sense]]:
    """The senses to take of each word. An index file lists them by frequency, and says how many were ever counted."""
    common: dict[str, list[Sense]] = defaultdict(list)
    for part in PARTS_OF_SPEECH:
        for row in _read_rows(wordnet / f"index.{part}"):
            word, num_pointers = row[0], int(row[3])
            num_counted, offsets = int(row[5 + num_pointers]), row[6 + num_pointers :]
            num_taken = 1 if word in UNCOUNTED else min(num_counted, MOST_SENSES)
            if WORD.fullmatch(word):
                common[word] += [(part, offset) for offset in offsets[:num_taken]]
    return common


def _read_irregular(wordnet: Path) -> Iterator[tuple[str, str]]:
    """Irregular inflections and their base forms (``men`` and ``man``, ``sitting`` and ``sit``)."""
    for part in PARTS_OF_SPEECH:
        for form, *bases in _read_rows(wordnet / f"{part}.exc"):
            if WORD.fullmatch(form):
                yield form, bases[0]


def _coarse_words(synsets: dict[Sense, Synset]) -> set[str]:
    """Words with a sense that WordNet marks as coarse; they are no loss as synonyms in their other senses."""
    usages = {offset for (_, offset), synset in synsets.items() if COARSE_USAGES.intersection(synset.words)}
    marked = (
        synset.words[number - 1 : number] if number else synset.words
        for synset in synsets.values()
        for usage, number in synset.usages
        if usage in usages
    )
    return set(UNMARKED_COARSE).union(*marked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="folder of dictionary files")
    wordnet = parser.parse_args().wordnet
    DATA.mkdir(exist_ok=True)
    (DATA / "synonyms.json").write_text(serialize(build(wordnet)), encoding="utf-8")
    (DATA / "WORDNET_LICENSE.txt").write_text(license_text(wordnet), encoding="utf-8")


if __name__ == "__main__":
    main()
