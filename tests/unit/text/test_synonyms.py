"""Synonyms: the shipped extract, how it is made, and WordNet through NLTK."""

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import nltk
import pytest
from nltk.corpus.reader import CorpusReader, WordNetCorpusReader
from nltk.corpus.util import LazyCorpusLoader

from bdray.exceptions import DataError
from bdray.text import synonyms
from bdray.text.synonyms import SHIPPED, nltk_synonyms, shipped_synonyms
from bdray.text.words import split_words

WORDNET = Path("/usr/share/wordnet")
ROOT = Path(__file__).parents[3]


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_synonyms", ROOT / "scripts" / "build_synonyms.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not (WORDNET / "data.noun").exists(), reason="needs Debian's wordnet-base in /usr/share/wordnet")
def test_shipped_files_are_what_the_script_writes() -> None:
    script = load_script()
    # Byte for byte: neither the table nor the license was edited by hand.
    assert script.serialize(script.build(WORDNET)) == SHIPPED.read_text(encoding="utf-8")
    assert script.license_text(WORDNET) == SHIPPED.with_name("WORDNET_LICENSE.txt").read_text(encoding="utf-8")


def test_shipped_table_is_well_formed() -> None:
    table = json.loads(SHIPPED.read_text(encoding="utf-8"))
    # Sorted, so that a seed means the same choice everywhere and a change shows as a short diff.
    assert list(table) == sorted(table)
    assert all(found == sorted(set(found)) for found in table.values())
    # Only single lower-case words; every entry offers something, and never the word itself.
    assert all(re.fullmatch("[a-z]{2,}", word) for entry in table.items() for word in (entry[0], *entry[1]))
    assert all(found and word not in found for word, found in table.items())
    # The license travels with the data.
    assert "Princeton University" in SHIPPED.with_name("WORDNET_LICENSE.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("boxes", "box"),
        ("balls", "ball"),
        ("houses", "house"),
        ("cities", "city"),
        ("jumped", "jump"),
        ("shared", "share"),
        ("carried", "carry"),
        ("jumping", "jump"),
        ("shaking", "shake"),
        ("ran", "run"),
        ("children", "child"),
    ],
)
def test_inflected_words_have_the_synonyms_of_their_base(word: str, base: str) -> None:
    # Captions are full of plurals and participles; WordNet lists base forms only.
    assert shipped_synonyms(word) == shipped_synonyms(base) != ()


@pytest.mark.parametrize("word", ["banana", "seed", "weed", "zzz", "s", "ed", "", "über", "球"])
def test_words_without_synonyms(word: str) -> None:
    # Neither unknown words nor words that only look inflected (seed is no form of see) get any.
    assert len(shipped_synonyms(word)) == 0


@pytest.mark.parametrize(
    ("word", "some"),
    [("ball", "globe"), ("flower", "blossom"), ("red", "scarlet"), ("large", "big"), ("checkered", "checked")],
)
def test_words_of_the_built_in_captions(word: str, some: str) -> None:
    # The built-in data's captions have something to replace.
    assert some in shipped_synonyms(word)


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("", []),
        ("A dog's 2 toys.", ["a", "dogs", "toys"]),
        ("black-and-white\tphoto\n(1990)", ["black", "and", "white", "photo"]),
        ("Bob’s “café” – 20£, naïve…", ["bobs", "café", "naïve"]),
        ("両手、赤い球。", ["両手", "赤い球"]),
        ("snake_case  __init__", ["snake", "case", "init"]),
    ],
)
def test_split_words(caption: str, words: list[str]) -> None:
    # Lower case, no digits, no punctuation, every letter kept.
    assert split_words(caption) == words


@pytest.fixture
def nltk_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in place of NLTK's corpora, whatever is installed on this machine."""
    wordnet = LazyCorpusLoader("wordnet", WordNetCorpusReader, LazyCorpusLoader("omw-1.4", CorpusReader, ".*"))
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    monkeypatch.setattr(nltk.corpus, "wordnet", wordnet)
    nltk_synonyms.cache_clear()
    synonyms._nltk_wordnet.cache_clear()
    yield tmp_path
    nltk_synonyms.cache_clear()
    synonyms._nltk_wordnet.cache_clear()


def test_missing_corpus_says_what_to_do(nltk_data: Path) -> None:
    # The user reads which setting needs what, how to get it and what else to choose.
    with pytest.raises(DataError, match=r"python -m nltk\.downloader wordnet.*shipped"):
        nltk_synonyms("ball")


def write_corpus(folder: Path) -> None:
    """A WordNet of one noun with two senses, in the real file format."""
    folder.mkdir(parents=True)
    for name in ("index.sense", "cntlist.rev", *(f"{p}.exc" for p in ("noun", "verb", "adj", "adv"))):
        (folder / name).write_text("")
    for part in ("verb", "adj", "adv"):
        (folder / f"data.{part}").write_text("  1 WordNet 3.0 Copyright\n")
        (folder / f"index.{part}").write_text("")
    (folder / "lexnames").write_text("00\tnoun.Tops\t1\n")
    first = "00000000 00 n 03 ball 0 crystal_ball 0 Orb 0 000 | a round thing\n"
    second = f"{len(first):08d} 00 n 02 ball 1 jack-o'-lantern 0 000 | another\n"
    (folder / "data.noun").write_text(first + second)
    (folder / "index.noun").write_text(f"ball n 2 0 2 0 00000000 {len(first):08d}\n")


def test_nltk_gives_every_lemma_of_every_sense(nltk_data: Path) -> None:
    write_corpus(nltk_data / "corpora" / "wordnet")
    # All senses, several words and names included, as EDA's public code does; inflections are WordNet's business.
    assert nltk_synonyms("ball") == ("crystal ball", "jack o lantern", "orb")
    assert nltk_synonyms("balls") == ("ball", "crystal ball", "jack o lantern", "orb")
    # A word that WordNet does not know has none.
    assert nltk_synonyms("zzz") == ()
