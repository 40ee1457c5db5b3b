"""Which words and relations say the same."""

import pytest

from bdray.text.likeness import relations_alike, words_alike


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ("ball", "ball", True),
        # Inflections, regular and irregular.
        ("boy", "boys", True),
        ("child", "children", True),
        ("running", "ran", True),
        ("run", "running", True),
        ("large", "larger", True),
        # Synonyms, from both sides.
        ("large", "big", True),
        ("big", "large", True),
        ("ball", "globe", True),
        ("ball", "box", False),
        ("red", "blue", False),
        ("", "ball", False),
    ],
)
def test_words_alike(first: str, second: str, alike: bool) -> None:
    assert words_alike(first, second) is alike
    assert words_alike(second, first) is alike


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ("on", "on", True),
        ("on", "under", False),
        # Prepositions that may stand for each other, of one word and of several.
        ("on", "on top of", True),
        ("next to", "beside", True),
        ("to the left of", "left of", True),
        ("to the left of", "to the right of", False),
        # A place, and somebody in a posture at that place.
        ("on", "sitting on", True),
        ("to the left of", "standing left of", True),
        ("above", "hovering over", True),
        ("on", "sitting under", False),
        # Of two verbs, the verbs decide.
        ("standing on", "sitting on", False),
        ("runs on", "running under", True),
        ("holding", "carrying", False),
        ("hold", "holding", True),
        ("built by", "painted by", False),
        # A verb and a preposition have nothing in common.
        ("riding", "on", False),
    ],
)
def test_relations_alike(first: str, second: str, alike: bool) -> None:
    assert relations_alike(first, second) is alike
    assert relations_alike(second, first) is alike
