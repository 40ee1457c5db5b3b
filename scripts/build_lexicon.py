"""Write the lexicon of bdray's caption parser from WordNet 3.0's dictionary files.

    apt-get install wordnet-base
    python scripts/build_lexicon.py

For every single word that may be something other than a noun, or that looks inflected but is a base form
(``glass``), the lexicon says how often WordNet's frequency data met it as noun, verb, adjective and adverb; words that
are not in it are nouns. It also holds the irregular inflections. The license is beside it (``WORDNET_LICENSE.txt``,
written by ``build_synonyms.py``). File formats: wndb(5WN), cntlist(5WN), morphy(7WN).
"""

import argparse
import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

LEXICON = Path(__file__).resolve().parents[1] / "bdray" / "text" / "data" / "lexicon.json.gz"
LETTERS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
SENSE_KEY_LETTERS = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
"""The digit after ``%`` in a sense key; 5 is an adjective that is near another in meaning."""

WORD = re.compile("[a-z]{2,}")
LOOKS_INFLECTED = re.compile("(s|ed|ing|ly)$")

Lexicon = dict[str, Mapping[str, Mapping[str, int]] | Mapping[str, str]]


def build(wordnet: Path) -> Lexicon:
    """``readings``: counts by part of speech of each word; ``noun``, ``verb``, ``adj``: base form of each irregular."""
    counts = _read_counts(wordnet)
    readings: dict[str, dict[str, int]] = defaultdict(dict)
    for part, letter in LETTERS.items():
        for word, *_ in _read_rows(wordnet / f"index.{part}"):
            if WORD.fullmatch(word):
                readings[word][letter] = counts[word, letter]
    kept = {word: found for word, found in readings.items() if found.keys() != {"n"} or LOOKS_INFLECTED.search(word)}
    irregular = {part: dict(sorted(_read_irregular(wordnet, part, readings))) for part in ("noun", "verb", "adj")}
    return {"readings": dict(sorted(kept.items())), **irregular}


def serialize(lexicon: Lexicon) -> bytes:
    """JSON without spaces."""
    return json.dumps(lexicon, separators=(",", ":")).encode()


def _read_rows(path: Path) -> Iterator[list[str]]:
    for line in path.read_text(encoding="latin-1").splitlines():
        if not line.startswith("  "):
            yield line.split()


def _read_counts(wordnet: Path) -> Counter[tuple[str, str]]:
    """Occurrences of each word as each part of speech, over its senses."""
    counts: Counter[tuple[str, str]] = Counter()
    for key, _, count in _read_rows(wordnet / "cntlist.rev"):
        word, _, sense = key.partition("%")
        counts[word, SENSE_KEY_LETTERS[sense[0]]] += int(count)
    return counts


def _read_irregular(wordnet: Path, part: str, readings: dict[str, dict[str, int]]) -> Iterator[tuple[str, str]]:
    """Inflections of words that the frequency data met as this part of speech; most others are Latin."""
    for form, *bases in _read_rows(wordnet / f"{part}.exc"):
        if WORD.fullmatch(form) and form != bases[0] and readings.get(bases[0], {}).get(LETTERS[part], 0):
            yield form, bases[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="folder of dictionary files")
    # No time stamp, so that the same words give the same file.
    LEXICON.write_bytes(gzip.compress(serialize(build(parser.parse_args().wordnet)), mtime=0))


if __name__ == "__main__":
    main()
