"""How well captions are parsed, against annotations made by hand, and how fast.

Usage: python benchmarks/caption_parser.py [PARSER]

PARSER is a type of ``bdray/text/parsers/`` (lexicon). F1 is micro-averaged over the captions of one half: a part counts
as found if its head (the last word of a noun or adjective, the first of a relation) is the annotated one; ``relation,
all words`` asks for the whole relation. The built-in parser was tuned on the development half only. Both halves are by
its author and in good English, so that F1 on scraped captions is lower.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import record

from bdray.config import build
from bdray.text.parsers.base import CaptionParser, ParsedCaption
from bdray.text.sub_captions import make_sub_captions

HERE = Path(__file__).parent
ANNOTATED = HERE / "data" / "captions_annotated.json"
NUM_TIMED = 5000
"""Captions to time: those annotated, over and over."""

Part = tuple[str, str]
"""What it is a part of (``subject``, ``relation``), and the word."""


def main() -> None:
    """Measure, print and write."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("parser", nargs="?", default="lexicon")
    name = options.parse_args().parser
    parser: CaptionParser = build(CaptionParser, {"type": name}, "PARSER")  # type: ignore[type-abstract]
    halves = read_halves()
    found = {
        "parser": name,
        "f1": {half: score(rows, parser) for half, rows in halves.items()},
        "captions": {half: len(rows) for half, rows in halves.items()},
        "captions_per_second": time_parser(parser, [row["caption"] for rows in halves.values() for row in rows]),
    }
    for half, scores in found["f1"].items():
        print(half, ", ".join(f"{part} {value:.3f}" for part, value in scores.items()))
    print(", ".join(f"{task} {rate} captions/s" for task, rate in found["captions_per_second"].items()))
    if name == "lexicon":
        record.write("caption_parser", found)


def read_halves() -> dict[str, list[dict[str, Any]]]:
    """The annotated captions, ``development`` and ``held_out``."""
    halves: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(ANNOTATED.read_text(encoding="utf-8"))["captions"]:
        halves.setdefault(row["half"], []).append(row)
    return halves


def score(rows: Iterable[Mapping[str, Any]], parser: CaptionParser) -> dict[str, float]:
    """F1 of each kind of part."""
    matched, total = Counter[str](), Counter[str]()
    for row in rows:
        expected, found = set(_annotated_parts(row)), set(_parsed_parts(parser.parse(row["caption"])))
        matched.update(2 * [kind for kind, _ in expected & found])
        total.update(kind for parts in (expected, found) for kind, _ in parts)
    scores = {kind: round(matched[kind] / total[kind], 3) for kind in sorted(total)}
    both = ("adjectives of the subject", "adjectives of the object")
    scores["adjectives"] = round(sum(matched[kind] for kind in both) / sum(total[kind] for kind in both), 3)
    return scores


def time_parser(parser: CaptionParser, captions: Sequence[str]) -> dict[str, int]:
    """Captions per second on one core, after a first pass that loads the dictionaries."""
    many = [captions[index % len(captions)] for index in range(NUM_TIMED)]
    list(make_sub_captions(captions, parser, seed=0))
    started = time.perf_counter()
    for caption in many:
        parser.parse(caption)
    parsed = time.perf_counter()
    for _ in make_sub_captions(many, parser, seed=0):
        pass
    return {
        "parsing": round(NUM_TIMED / (parsed - started)),
        "both sub-captions": round(NUM_TIMED / (time.perf_counter() - parsed)),
    }


def _annotated_parts(row: Mapping[str, Any]) -> Iterator[Part]:
    yield from _parts(
        row["subject"], row["subject_adjectives"], row["relation"], row["object"], row["object_adjectives"]
    )


def _parsed_parts(parsed: ParsedCaption) -> Iterator[Part]:
    subject, object_ = parsed.subject, parsed.object
    yield from _parts(
        subject.noun,
        subject.adjectives,
        parsed.relation,
        object_.noun if object_ else None,
        object_.adjectives if object_ else (),
    )


def _parts(
    subject: str, adjectives: Sequence[str], relation: str | None, object_: str | None, object_adjectives: Sequence[str]
) -> Iterator[Part]:
    yield "subject", subject.split()[-1]
    yield from (("adjectives of the subject", adjective.split()[-1]) for adjective in adjectives)
    if relation:
        yield "relation", relation.split()[0]
        yield "relation, all words", relation
    if object_:
        yield "object", object_.split()[-1]
        yield from (("adjectives of the object", adjective.split()[-1]) for adjective in object_adjectives)


if __name__ == "__main__":
    main()
