"""Counterfactual sub-captions as an augmentation."""

import random

import pytest

from bdray.config import build, dump
from bdray.exceptions import ConfigError
from bdray.text.counterfactual import Counterfactual

CAPTION = "a photo of a small red ball on the grass"


@pytest.mark.parametrize(
    ("replacements", "kept", "replaced"),
    [
        (["adjectives"], {"ball", "on", "grass"}, {"red"}),
        (["nouns"], {"red", "on"}, {"ball", "grass"}),
        (["relation"], {"red", "ball", "grass"}, set()),
    ],
)
def test_only_what_is_asked_for_is_replaced(replacements: list[str], kept: set[str], replaced: set[str]) -> None:
    augmentation = build(Counterfactual, {"replacements": replacements}, "test")
    for seed in range(50):
        words = set(augmentation.augment(CAPTION, random.Random(seed)).split())
        # One adjective is kept of the subject, the nearest, and replaced or not like the rest.
        assert kept <= words
        assert not replaced & words
        assert "small" not in words


def test_number_of_adjectives() -> None:
    nouns = Counterfactual(replacements=("nouns",), most_adjectives=0)
    assert nouns.augment(CAPTION, random.Random(0)).split()[1] == "on"
    nouns = Counterfactual(replacements=("nouns",), most_adjectives=2)
    assert nouns.augment(CAPTION, random.Random(0)).startswith("small red ")


def test_it_never_comes_back_unchanged() -> None:
    # Captions with little in them get other nouns.
    for seed in range(50):
        assert Counterfactual().augment("banana", random.Random(seed)) != "banana"


@pytest.mark.parametrize("replacements", [[], ["verbs"]])
def test_mistakes_are_found_at_load(replacements: list[str]) -> None:
    with pytest.raises(ConfigError, match="replacements"):
        build(Counterfactual, {"replacements": replacements}, "study.yaml")


def test_defaults() -> None:
    # All three kinds of the paper, the built-in parser.
    assert dump(Counterfactual()) == {
        "type": "counterfactual",
        "parser": {"type": "lexicon"},
        "replacements": ["adjectives", "relation", "nouns"],
        "most_adjectives": 1,
    }
