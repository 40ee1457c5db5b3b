"""EDA: each operation alone, the draw among them, captions with little in them, and randomness that is only ours."""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import pytest

from bdray.config import build, dump
from bdray.exceptions import ConfigError
from bdray.text.base import TextAugmentation
from bdray.text.eda import Eda, delete_words, insert_synonyms, replace_synonyms, swap_words
from bdray.text.words import split_words

CAPTION = "A photo of a small red ball above a large striped blue box on the grass."
WORDS = split_words(CAPTION)
SEEDS = range(50)
DEGENERATE = ["", "   ", "\n", "2", "?!", "12 - 34", "\x00", "…", "۱۲۳"]
"""Captions without a single letter."""


def lookup(word: str) -> Sequence[str]:
    """A dictionary of two words."""
    return {"red": ("ruby", "scarlet"), "ball": ("globe",)}.get(word, ())


def only(operation: str, alpha: float = 0.1) -> Eda:
    """EDA with one operation."""
    off = dict.fromkeys(("synonym_replacement", "random_insertion", "random_swap", "random_deletion"), 0)
    return build(Eda, off | {operation: alpha}, "test")


def load(fields: dict[str, object]) -> TextAugmentation:
    """What a study file with these fields becomes."""
    return build(TextAugmentation, {"type": "eda"} | fields, "study.yaml")  # type: ignore[type-abstract]


def is_subsequence(short: Sequence[str], long: Sequence[str]) -> bool:
    rest = iter(long)
    return all(word in rest for word in short)


@pytest.mark.parametrize(
    ("words", "alpha", "expected"),
    [
        # At least one word is replaced, however short the caption.
        (["ball"], 0.1, [["globe"]]),
        (["the", "red", "tent"], 0.1, [["the", "ruby", "tent"], ["the", "scarlet", "tent"]]),
        # A word is replaced wherever it stands, by one and the same synonym.
        (["red", "on", "red"], 0.1, [["ruby", "on", "ruby"], ["scarlet", "on", "scarlet"]]),
        # More edits than words with synonyms: all of those are replaced.
        (["red", "ball"], 1.0, [["ruby", "globe"], ["scarlet", "globe"]]),
        # int(0.5 * 4) = 2 edits count words that have synonyms, not those that have none.
        (
            ["red", "ball", "tent", "boot"],
            0.5,
            [["ruby", "globe", "tent", "boot"], ["scarlet", "globe", "tent", "boot"]],
        ),
        # Nothing to replace.
        (["tent"], 1.0, [["tent"]]),
    ],
)
def test_replace_synonyms(words: list[str], alpha: float, expected: list[list[str]]) -> None:
    results = [replace_synonyms(words, alpha, random.Random(seed), lookup=lookup) for seed in SEEDS]
    # Every outcome is one of those allowed, and each of those is reached.
    assert sorted(map(list, set(map(tuple, results)))) == expected


def test_stop_words_have_no_synonyms() -> None:
    def everything_has(word: str) -> Sequence[str]:
        return (f"<{word}>",)

    # Of "a ball on the box", only ball and box are replaced or lead to an insertion, whatever the dictionary holds.
    words = ["a", "ball", "on", "the", "box"]
    assert replace_synonyms(words, 1.0, random.Random(0), lookup=everything_has) == [
        "a",
        "<ball>",
        "on",
        "the",
        "<box>",
    ]
    longer = insert_synonyms(words, 1.0, random.Random(0), lookup=everything_has)
    assert set(longer) - set(words) == {"<ball>", "<box>"}


@pytest.mark.parametrize(("alpha", "num_inserted"), [(0.01, 1), (0.1, 1), (0.25, 4), (1.0, 16)])
def test_insert_synonyms(alpha: float, num_inserted: int) -> None:
    assert len(WORDS) == 16
    inserted: Counter[str] = Counter()
    places: set[int] = set()
    for seed in range(500):
        longer = insert_synonyms(WORDS, alpha, random.Random(seed), lookup=lookup)
        # The caption is intact inside the longer one, which has exactly n words more.
        assert is_subsequence(WORDS, longer)
        assert len(longer) == len(WORDS) + num_inserted
        inserted += Counter(longer) - Counter(WORDS)
        places |= {place for place, word in enumerate(longer) if word not in WORDS}
    # All synonyms of all words get their turn, at every place from before the first word to after the last.
    assert set(inserted) == {"ruby", "scarlet", "globe"}
    assert places == set(range(len(WORDS) + num_inserted))


def test_insert_nothing_where_no_word_has_a_synonym() -> None:
    # No synonyms means no insertion rather than an endless search.
    assert insert_synonyms(["tent", "the"], 1.0, random.Random(0), lookup=lookup) == ["tent", "the"]


@pytest.mark.parametrize(("alpha", "most_moved"), [(0.01, 2), (0.1, 2), (0.25, 8), (1.0, 16)])
def test_swap_words(alpha: float, most_moved: int) -> None:
    words = [f"w{number}" for number in range(16)]
    for seed in SEEDS:
        swapped = swap_words(words, alpha, random.Random(seed))
        moved = sum(before != after for before, after in zip(words, swapped, strict=True))
        # n swaps permute the words and move at most 2n of them; a single swap moves exactly two.
        assert sorted(swapped) == sorted(words)
        assert moved == 2 if most_moved == 2 else moved <= most_moved


def test_swap_needs_two_words() -> None:
    assert swap_words(["ball"], 1.0, random.Random(0)) == ["ball"]
    assert swap_words(["red", "ball"], 0.1, random.Random(0)) == ["ball", "red"]


def test_delete_words() -> None:
    kept = [delete_words(WORDS, 0.25, random.Random(seed)) for seed in range(2000)]
    # What is left is in its old order, and a quarter of all words is gone (standard error 0.0024).
    assert all(is_subsequence(words, WORDS) for words in kept)
    assert 1 - sum(map(len, kept)) / (2000 * len(WORDS)) == pytest.approx(0.25, abs=0.01)


def test_delete_never_deletes_all() -> None:
    left = [delete_words(["red", "ball"], 1.0, random.Random(seed)) for seed in SEEDS]
    # A probability of 1 leaves one word, any of them.
    assert {tuple(words) for words in left} == {("red",), ("ball",)}
    assert delete_words(["ball"], 1.0, random.Random(0)) == ["ball"]


def test_operations_do_not_change_their_input() -> None:
    words = list(WORDS)
    for seed in SEEDS:
        replace_synonyms(words, 1.0, random.Random(seed), lookup=lookup)
        insert_synonyms(words, 1.0, random.Random(seed), lookup=lookup)
        swap_words(words, 1.0, random.Random(seed))
        delete_words(words, 1.0, random.Random(seed))
    # The list that went in is as it was.
    assert words == WORDS


def test_each_operation_alone() -> None:
    for seed in SEEDS:
        replaced = only("synonym_replacement").augment(CAPTION, random.Random(seed)).split()
        # Replacement alone: as many words, exactly one differs.
        assert sum(old != new for old, new in zip(WORDS, replaced, strict=True)) == 1
        # Insertion alone: one word more. Swap alone: the same words. Deletion alone: fewer words, none new.
        assert len(only("random_insertion").augment(CAPTION, random.Random(seed)).split()) == len(WORDS) + 1
        assert sorted(only("random_swap").augment(CAPTION, random.Random(seed)).split()) == sorted(WORDS)
        assert is_subsequence(only("random_deletion").augment(CAPTION, random.Random(seed)).split(), WORDS)


def test_operations_are_drawn_uniformly() -> None:
    def operation_of(words: list[str]) -> str:
        if len(words) != len(WORDS):
            return "insertion" if len(words) > len(WORDS) else "deletion"
        return "swap" if sorted(words) == sorted(WORDS) else "replacement"

    eda, rng = Eda(random_deletion=1.0), random.Random(0)
    counts = Counter(operation_of(eda.augment(CAPTION, rng).split()) for _ in range(4000))
    # A quarter each (five standard errors are 137); with two left, a half each and never another.
    assert len(counts) == 4
    assert all(abs(count - 1000) < 137 for count in counts.values())
    two = Eda(random_deletion=1.0, synonym_replacement=0, random_swap=0)
    counts = Counter(operation_of(two.augment(CAPTION, rng).split()) for _ in range(4000))
    assert set(counts) == {"insertion", "deletion"}
    assert abs(counts["insertion"] - 2000) < 160


@pytest.mark.parametrize("caption", DEGENERATE)
def test_caption_without_words_is_unchanged(caption: str) -> None:
    # Nothing to augment: the caption comes back to the character.
    assert Eda().augment(caption, random.Random(0)) == caption


@pytest.mark.parametrize(
    ("caption", "allowed"),
    [
        ("banana", {"banana"}),
        ("A", {"a"}),
        ("the of", {"the of", "of the", "the", "of"}),
        ("😀", {"😀"}),
        ("一只红色的球", {"一只红色的球"}),
    ],
)
def test_short_captions(caption: str, allowed: set[str]) -> None:
    results = {Eda().augment(caption, random.Random(seed)) for seed in range(300)}
    # Everything that can happen to so short a caption happens, and nothing else; it never becomes empty.
    assert results == allowed


@pytest.mark.parametrize("caption", ["Roter Ball über dem Kasten", "दो लड़के खेल रहे हैं", "красный мяч на траве"])
def test_other_languages_keep_their_words(caption: str) -> None:
    words = Counter(caption.lower().split())
    for seed in SEEDS:
        result = only("random_swap").augment(caption, random.Random(seed))
        # Letters and vowel signs beyond a-z survive, and words are moved whole.
        assert Counter(result.split()) == words
        # No operation empties the caption or fails on it.
        assert Eda().augment(caption, random.Random(seed))


def test_long_caption() -> None:
    caption = " ".join(["red", "ball", "under", "snow", "sky"] * 100)
    lengths = {len(Eda().augment(caption, random.Random(seed)).split()) for seed in SEEDS}
    # 500 words are no limit: int(0.1 * 500) = 50 are inserted, about 50 are deleted, otherwise the length stays.
    assert {500, 550} < lengths
    assert all(400 < length < 500 for length in lengths - {500, 550})


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        # Golden results: another process, hash seed or machine gives the same ones.
        (0, "a photo of a small red ball above a large striped blue box on the grass"),
        (1, "a photo big of a small red ball above a large striped blue box on the grass"),
        (2, "a photo of a small red ball above a large stripy blue box on the grass"),
        (3, "a photo of a stripy small red ball above a large striped blue box on the grass"),
        (4, "a photo of a small red ball above a modest large striped blue box on the grass"),
        (5, "a photo of a small red ball above a large striped box blue on the grass"),
    ],
)
def test_same_seed_same_caption(seed: int, expected: str) -> None:
    assert Eda().augment(CAPTION, random.Random(seed)) == expected


def test_global_randomness_is_neither_used_nor_changed() -> None:
    results = []
    for global_seed in (1, 2):
        random.seed(global_seed)
        before = random.getstate()
        rng = random.Random(0)
        results.append([Eda().augment(CAPTION, rng) for _ in range(20)])
        # The global generator has not moved.
        assert random.getstate() == before
    # Another global seed changes nothing, while the generator passed in advances and gives different captions.
    assert results[0] == results[1]
    assert len(set(results[0])) > 10


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"random_swap": 1.5}, "random_swap: 1.5 is not allowed: give a number of at least 0 and at most 1."),
        ({"random_swap": -0.1}, "random_swap: -0.1 is not allowed: give a number of at least 0 and at most 1."),
        ({"synonyms": "wordnet"}, "synonyms: 'wordnet' is not allowed: give 'shipped' or 'nltk'."),
        ({"swap": 0.1}, "swap: unknown field. Did you mean 'random_swap'?"),
        (dump(only("random_swap", 1)) | {"random_swap": 0}, "at least one of synonym_replacement, random_insertion,"),
    ],
)
def test_mistakes_are_found_at_load(fields: dict[str, object], message: str) -> None:
    # The message names the field, the value and the rule.
    with pytest.raises(ConfigError) as error:
        load(fields)
    assert message in str(error.value)


def test_is_a_member_of_its_family() -> None:
    # A configuration names it by type, and the defaults are the EDA paper's.
    assert load({}) == Eda()
    assert dump(Eda()) == {
        "type": "eda",
        "synonym_replacement": 0.1,
        "random_insertion": 0.1,
        "random_swap": 0.1,
        "random_deletion": 0.1,
        "synonyms": "shipped",
    }


def test_importing_is_cheap() -> None:
    code = "import sys, bdray.text.eda; print(*{'torch', 'nltk', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # None of the heavy libraries comes with it: each would cost every command seconds.
    assert done.stdout.strip() == ""
