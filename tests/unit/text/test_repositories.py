"""The shipped replacements, and how they are made."""

import importlib.util
import re
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pytest

from bdray.text.repositories import SHIPPED, shipped_repositories
from bdray.text.words import STOP_WORDS

WORDNET = Path("/usr/share/wordnet")
ROOT = Path(__file__).parents[3]


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_repositories", ROOT / "scripts" / "build_repositories.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not (WORDNET / "data.noun").exists(), reason="needs Debian's wordnet-base in /usr/share/wordnet")
def test_shipped_file_is_what_the_script_writes() -> None:
    script = load_script()
    # Byte for byte: nothing was edited by hand.
    assert script.serialize(script.build(WORDNET)) == SHIPPED.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["adjectives", "relations", "nouns"])
def test_sizes(kind: str) -> None:
    words = asdict(shipped_repositories())[kind]
    # 3,000 different ones, as in the paper; sorted, so that a seed means the same choice everywhere.
    assert len(words) == len(set(words)) == 3000
    assert list(words) == sorted(words)


def test_words_are_words() -> None:
    repositories = shipped_repositories()
    # Lower-case words, one for adjectives and nouns; none of them is a function word.
    assert all(re.fullmatch("[a-z]{3,}", word) for word in repositories.adjectives + repositories.nouns)
    assert not STOP_WORDS.intersection(repositories.adjectives + repositories.nouns)
    assert all(re.fullmatch("[a-z]+(-[a-z]+)?( [a-z]+){0,3}", relation) for relation in repositories.relations)
    # The license travels with them.
    assert SHIPPED.with_name("WORDNET_LICENSE.txt").exists()


def test_common_words_are_there() -> None:
    repositories = shipped_repositories()
    # What a caption would have.
    assert {"red", "blue", "small", "large", "wooden", "young", "happy"} <= set(repositories.adjectives)
    assert {"ball", "dog", "car", "tree", "woman", "bridge", "lamp", "flower"} <= set(repositories.nouns)
    assert {"carrying", "chasing", "painted by", "sitting on", "running through", "under"} <= set(
        repositories.relations
    )


@pytest.mark.parametrize(
    "word", ["nigger", "whore", "retarded", "rapist", "slave", "bitch", "negro", "faggot", "spastic"]
)
def test_offensive_words_are_not(word: str) -> None:
    repositories = asdict(shipped_repositories())
    assert not [kind for kind, words in repositories.items() if any(word in entry.split() for entry in words)]


def test_too_few_words_are_refused() -> None:
    # Rather than shipping a smaller repository.
    with pytest.raises(ValueError, match="only 2 words"):
        load_script()._first(["a", "b", "a"])


@pytest.mark.parametrize(
    ("verb", "participle", "passive"),
    [
        ("carry", "carrying", "carried by"),
        ("chase", "chasing", "chased by"),
        ("play", "playing", "played by"),
        ("dye", "dyeing", "dyed by"),
        ("wash", "washing", "washed by"),
    ],
)
def test_participles(tmp_path: Path, verb: str, participle: str, passive: str) -> None:
    (tmp_path / "verb.exc").write_text("running run\nran run\n")
    script = load_script()
    # By rule where WordNet lists no irregular form; irregular past forms cannot be told from participles and are left.
    assert list(script._participles(tmp_path, [verb, "run"])) == [participle, "running"]
    assert list(script._passives(tmp_path, [verb, "run", "cut"])) == [passive]
