"""Parts of speech without a model: WordNet's counts say what a word can be, its neighbors what it is."""

import gzip
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from bdray.text.parsers.function_words import FUNCTION_WORDS

SHIPPED = Path(__file__).parents[1] / "data" / "lexicon.json.gz"
"""Written by ``scripts/build_lexicon.py``, which says what it holds."""

TRANSITIONS = """
^    DT30 NN20 NNS14 JJ16 CD4 IN4 VBG3 VBN1 VB1 W2 EX2 PRP2 PRP$1 RB2 TO0.3 BE0.2
DT   NN50 JJ35 NNS8 CD3 VBG0.3 VBN0.3 RB1.5 IN0.5 BE0.5 DT2 CC0.1 VBZ0.05 VB0.02
PRP$ NN50 JJ30 NNS15 CD2 VBG0.3 VBN0.3 RB1 DT1
CD   NN35 NNS40 JJ15 CD3 IN3 $3 CC1
JJ   NN50 NNS25 JJ10 CC4 IN4 ,3 $2 VBG0.6 VBN0.6 TO0.5 VBZ0.3 VB0.2 CD0.5 RB0.3 DT0.2
NN   IN28 $14 NN14 VBZ9 VBG12 ,7 CC6 NNS5 VBN6 BE4 POS2.5 TO2.5 W1.5 VB1 RB1.5 JJ1 MD0.7 DT0.7 CD0.4 PRP0.3 PRP$0.2
NNS  IN28 $15 VB8 VBG12 ,7 CC7 VBN6 BE4 NN1 NNS0.7 TO2 W1.5 RB1.5 JJ1.2 VBZ0.7 MD0.7 DT0.7 POS1 CD0.4 PRP0.3
VB   DT26 IN30 NN8 NNS6 JJ7 PRP$6 RB5 TO6 $5 VBG2 VBN1.5 CC2 ,1.5 PRP3 CD1.5 W1 POS0.01
VBZ  DT26 IN30 NN8 NNS6 JJ7 PRP$6 RB5 TO6 $4 VBG2 VBN1.5 CC1.5 ,1 PRP2 CD1.5 W1 BE1
VBG  DT26 IN34 NN7 NNS6 JJ7 PRP$6 RB5 TO6 $4 VBG1 VBN1 CC2 ,1.5 PRP2 CD1.5 W1 BE0.3
VBN  DT12 IN50 NN5 NNS3 JJ4 PRP$3 RB4 TO5 $6 VBG1.5 VBN1 CC2.5 ,2 PRP1 CD1 W1 BE0.5
BE   VBG20 VBN28 DT18 JJ14 IN10 RB5 NN2 NNS1 CD2 BE2 TO1 PRP$1 W0.5 $0.5
MD   VB60 BE30 RB8 DT0.5 PRP0.5 VBN0.1
IN   DT40 NN17 NNS11 JJ14 PRP$7 CD3 VBG3 PRP2 IN4 TO1 $1.5 RB0.7 W0.5 VBN0.3 VB0.05 CC0.3
TO   VB45 DT28 NN9 NNS4 JJ5 PRP$5 BE2 PRP1 CD1 VBG0.3
CC   NN28 NNS15 JJ18 DT14 VBG6 VBZ3 VBN4 VB3 PRP$4 IN3 RB2 CD2 TO1 PRP1 BE0.5
,    DT16 NN20 NNS12 JJ10 CC10 IN10 VBG10 VBN4 VBZ2 W4 RB3 PRP$2 CD3 PRP1 VB1 $2 BE0.7
RB   VBN16 JJ18 VBG12 IN20 VBZ7 VB5 DT8 RB4 $10 ,4 CC2 NN2 NNS1 CD2 TO2 BE3 W1
PRP  BE22 VBZ25 VB14 IN10 MD6 VBN6 VBG4 $5 RB3 DT2 CC2 ,2 TO2
EX   BE90 VBZ3 MD3 RB2
W    DT22 NN10 NNS6 JJ6 PRP14 BE8 VBZ12 VB6 TO10 IN4 VBN4 VBG3 PRP$3 RB2 CD1
POS  NN50 JJ28 NNS16 CD3 VBG0.3 VBN0.3 RB1
"""
"""Percent of the words with one tag that are followed by each other; ^ and $ are the ends of a clause.

Set by hand, by what is common in captions: present tense, participles after nouns, few pronouns.
"""
UNLIKELY = math.log(2e-4)
"""Log-probability of all transitions that are not in the table."""

SMOOTHING = 0.3
"""Added to WordNet's counts, so that what a word can be has a chance where the frequency data never met it."""

GERUNDS = 0.4
"""Factor for nouns in ``ing`` that are also verbs: captions have many more participles than WordNet's texts."""

FORMS = (
    # ending, replacement of the ending in the base form, part of speech of the base, shares of its uses by tag
    ("", "", "n", {"NN": 0.75}),
    ("", "", "v", {"VB": 0.3}),
    ("", "", "a", {"JJ": 1.0}),
    ("", "", "r", {"RB": 1.0}),
    ("s", "", "n", {"NNS": 0.25}),
    ("es", "", "n", {"NNS": 0.25}),
    ("ies", "y", "n", {"NNS": 0.25}),
    ("s", "", "v", {"VBZ": 0.2}),
    ("es", "", "v", {"VBZ": 0.2}),
    ("ies", "y", "v", {"VBZ": 0.2}),
    ("ed", "", "v", {"VBN": 0.3, "JJ": 0.06}),
    ("ed", "e", "v", {"VBN": 0.3, "JJ": 0.06}),
    ("ied", "y", "v", {"VBN": 0.3, "JJ": 0.06}),
    ("ing", "", "v", {"VBG": 0.6, "JJ": 0.06}),
    ("ing", "e", "v", {"VBG": 0.6, "JJ": 0.06}),
    ("er", "", "a", {"JJ": 0.1}),
    ("er", "e", "a", {"JJ": 0.1}),
    ("est", "", "a", {"JJ": 0.1}),
    ("est", "e", "a", {"JJ": 0.1}),
)
"""Regular inflections (WordNet's rules of detachment, morphy(7WN)). The shares are set by hand, for captions."""

DOUBLED = re.compile(r"(\w*([b-df-hj-np-tv-z]))\2(ed|ing)")
UNKNOWN = (
    # what a word that is not in the lexicon mostly is; common words are in it unless they are nouns
    (re.compile(r"^\d"), {"CD": 1.0}),
    (re.compile(r"ing$"), {"VBG": 0.6, "NN": 0.3, "JJ": 0.1}),
    (re.compile(r"ed$"), {"VBN": 0.7, "JJ": 0.3}),
    (re.compile(r"ly$"), {"RB": 0.8, "JJ": 0.2}),
    (re.compile(r"[^s]s$"), {"NNS": 0.95, "VBZ": 0.05}),
    (re.compile(r""), {"NN": 0.95, "JJ": 0.05}),
)
PARTICLES = frozenset({"up", "down", "out", "off"})
"""What follows a verb rather than a plural noun (``lights up``)."""

PUNCTUATION = {",": ",", "'s": "POS", "'": "POS"}


def tag(words: Sequence[str]) -> list[tuple[str, str]]:
    """The likeliest tags of the words of one clause, by the Viterbi algorithm."""
    transitions = _transitions()
    paths: dict[str, tuple[float, tuple[Any, ...]]] = {"^": (0.0, ())}
    for word in words:
        longer = {}
        for current, score in readings(word).items():
            longer[current] = max(
                (so_far + transitions[previous].get(current, UNLIKELY) + score, (path, current))
                for previous, (so_far, path) in paths.items()
            )
        paths = longer
    _, path = max((score + transitions[last].get("$", UNLIKELY), path) for last, (score, path) in paths.items())
    tags: list[str] = []
    while path:
        path, last = path
        tags.append(last)
    return _with_verb(list(zip(words, reversed(tags), strict=True)))


def _with_verb(tagged: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Find the verb that a clause without one probably has, where its neighbors alone speak against it."""
    if any(tag.startswith("V") or tag == "BE" for _, tag in tagged):
        return tagged
    for at in range(1, len(tagged) - 1):
        (_, before), (word, tag), (after, _) = tagged[at - 1 : at + 2]
        found = readings(word)
        if before == "NN" and tag == "NNS" and after in PARTICLES and "VBZ" in found:  # an artist lights up the stage
            verb = "VBZ"
        elif before == tag == "NN" and ("and", "CC") in tagged[:at] and found.get("VB", UNLIKELY) > found["NN"]:
            verb = "VB"  # actor and director pose for photographers
        else:
            continue
        return [*tagged[:at], (word, verb), *tagged[at + 1 :]]
    return tagged


@lru_cache(maxsize=65536)
def readings(word: str) -> Mapping[str, float]:
    """Log-probabilities of the tags that a lower-case word can have."""
    if word in PUNCTUATION:
        return {PUNCTUATION[word]: 0.0}
    if " " in word:  # words joined before tagging are prepositions
        return {"IN": 0.0}
    weights = FUNCTION_WORDS.get(word) or _inflected(word) or _inflected(word.rpartition("-")[2])
    if not weights:
        weights = next(weights for pattern, weights in UNKNOWN if pattern.search(word))
    total = sum(weights.values())
    return {tag: math.log(weight / total) for tag, weight in weights.items()}


@lru_cache(maxsize=65536)
def base_forms(word: str) -> frozenset[str]:
    """The word itself and all that it may be an inflection of; most of these are no words at all."""
    return frozenset({word, *(base for base, _, _ in _analyses(word))})


def _inflected(word: str) -> Mapping[str, float]:
    weights: dict[str, float] = {}
    for base, letter, shares in _analyses(word):
        count = _lexicon()["readings"].get(base, {}).get(letter)
        if count is not None:
            for name, share in shares.items():
                weights[name] = weights.get(name, 0) + share * (count + SMOOTHING)
    if "VBG" in weights and "NN" in weights:
        weights["NN"] *= GERUNDS
    return weights


def _analyses(word: str) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """Base form, part of speech of the base and shares by tag of all that the word may be a form of."""
    lexicon = _lexicon()
    for ending, replacement, letter, shares in FORMS:
        if word.endswith(ending) and len(word) > len(ending) + 1:
            yield word.removesuffix(ending) + replacement, letter, shares
    if doubled := DOUBLED.fullmatch(word):
        yield doubled[1], "v", {"VBN": 0.3, "JJ": 0.06} if doubled[3] == "ed" else {"VBG": 0.6, "JJ": 0.06}
    if base := lexicon["noun"].get(word):
        yield base, "n", {"NNS": 0.25}
    if base := lexicon["adj"].get(word):
        yield base, "a", {"JJ": 0.1}
    if base := lexicon["verb"].get(word):
        ending = "ing" if word.endswith("ing") else "s" if word.endswith("s") else ""
        yield base, "v", {"ing": {"VBG": 0.6, "JJ": 0.06}, "s": {"VBZ": 0.2}, "": {"VBN": 0.3, "JJ": 0.04}}[ending]


@cache
def _lexicon() -> dict[str, dict[str, Any]]:
    lexicon: dict[str, dict[str, Any]] = json.loads(gzip.decompress(SHIPPED.read_bytes()))
    return lexicon


@cache
def _transitions() -> dict[str, dict[str, float]]:
    table = {}
    for line in TRANSITIONS.strip().splitlines():
        tag, *cells = line.split()
        entries = [re.fullmatch(r"(\D+)([\d.]+)", cell) for cell in cells]
        table[tag] = {entry[1]: math.log(float(entry[2]) / 100) for entry in entries if entry}
    return table
