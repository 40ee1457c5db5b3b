"""Parts of speech from WordNet's counts and their neighbors, and the lexicon they come from."""

import gzip
import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import pytest

from bdray.text.parsers.function_words import FUNCTION_WORDS
from bdray.text.parsers.lexicon_tagger import SHIPPED, TRANSITIONS, base_forms, readings, tag

WORDNET = Path("/usr/share/wordnet")
ROOT = Path(__file__).parents[4]


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_lexicon", ROOT / "scripts" / "build_lexicon.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not (WORDNET / "data.noun").exists(), reason="needs Debian's wordnet-base in /usr/share/wordnet")
def test_shipped_lexicon_is_what_the_script_writes() -> None:
    script = load_script()
    # Compared unpacked: the compressed bytes may differ between versions of zlib.
    assert script.serialize(script.build(WORDNET)) == gzip.decompress(SHIPPED.read_bytes())


def test_lexicon_counts() -> None:
    lexicon = json.loads(gzip.decompress(SHIPPED.read_bytes()))
    # WordNet's counts by part of speech (cntlist), as its own tools print them: 192 times a verb, 15 times a noun.
    assert lexicon["readings"]["walk"] == {"n": 15, "v": 192}
    # Nouns only are left out, unless they look inflected.
    assert "banana" not in lexicon["readings"]
    assert lexicon["readings"]["glass"]["n"] > 0
    # Irregular inflections lead to their base.
    assert (lexicon["noun"]["children"], lexicon["verb"]["sat"]) == ("child", "sit")


@pytest.mark.parametrize(
    ("word", "likeliest"),
    [
        ("walk", "VB"),
        ("walks", "VBZ"),
        ("walking", "VBG"),
        ("walked", "VBN"),
        ("dogs", "NNS"),
        ("dog", "NN"),
        ("sat", "VBN"),
        ("sitting", "VBG"),
        ("jogging", "VBG"),
        ("children", "NNS"),
        ("bigger", "JJ"),
        ("glass", "NN"),
        ("the", "DT"),
        ("in front of", "IN"),
        ("hand-drawn", "VBN"),
        # What no dictionary has: by its ending, else a noun.
        ("selfie", "NN"),
        ("selfies", "NNS"),
        ("bokehing", "VBG"),
        ("4k", "CD"),
        ("球", "NN"),
    ],
)
def test_likeliest_reading_of_a_word_alone(word: str, likeliest: str) -> None:
    found = readings(word)
    assert max(found, key=found.__getitem__) == likeliest
    # The readings are a distribution.
    assert sum(map(math.exp, found.values())) == pytest.approx(1)


@pytest.mark.parametrize(
    ("caption", "tags"),
    [
        # One word form, two parts of speech, decided by the neighbors.
        ("a man walks the dog", "DT NN VBZ DT NN"),
        ("the walks of life", "DT NNS IN NN"),
        ("a painting in the hall", "DT NN IN DT NN"),
        ("people painting a house", "NNS VBG DT NN"),
        ("a smiling woman", "DT JJ NN"),
        ("a woman smiling at a child", "DT NN VBG IN DT NN"),
        ("roses on white", "NNS IN NN"),
        ("white roses", "JJ NNS"),
        ("men play chess", "NNS VB NN"),
        # A clause without verb gets the one that it probably has.
        ("an artist lights up the stage", "DT NN VBZ IN DT NN"),
        ("actor and director pose for photographers", "NN CC NN VB IN NNS"),
        ("city lights at night", "NN NNS IN NN"),
    ],
)
def test_neighbors_decide(caption: str, tags: str) -> None:
    assert [tag for _, tag in tag(caption.split())] == tags.split()


def test_every_tag_has_transitions() -> None:
    rows = [line.split()[0] for line in TRANSITIONS.strip().splitlines()]
    # A tag without a row would end the search with an error, for a caption that has such a word.
    assert {tag for tags in FUNCTION_WORDS.values() for tag in tags} <= set(rows)
    assert {"VBZ", "VBG", "VBN", "NN", "NNS", "JJ", ",", "POS", "^"} <= set(rows)
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize(
    ("word", "bases"),
    [
        ("boxes", {"boxes", "box", "boxe"}),
        ("children", {"children", "child"}),
        ("jogging", {"jogging", "jogg", "jogge", "jog"}),
    ],
)
def test_base_forms(word: str, bases: set[str]) -> None:
    assert base_forms(word) == bases
