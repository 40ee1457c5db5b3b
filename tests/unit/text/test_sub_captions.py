"""Factual and counterfactual sub-captions, rule by rule."""

import random
from collections import Counter

import pytest

from bdray.text.likeness import relations_alike, words_alike
from bdray.text.parsers.base import ParsedCaption, Phrase
from bdray.text.parsers.lexicon import Lexicon
from bdray.text.repositories import Repositories
from bdray.text.sub_captions import SubCaptions, counterfactual, factual, make_sub_captions, simplify

DOG = ParsedCaption(Phrase("dog", ("small", "brown")), "sitting on", Phrase("rug", ("red",)))
ONE_EACH = Repositories(adjectives=("new", "old", "hot"), relations=("under", "running"), nouns=("cat", "mat"))
SEEDS = range(60)


def made(parsed: ParsedCaption, repositories: Repositories = ONE_EACH, **options: object) -> set[str]:
    """All that sixty seeds make of a statement."""
    return {counterfactual(parsed, random.Random(seed), repositories, **options) for seed in SEEDS}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parsed", "text"),
    [
        (DOG, "small brown dog sitting on red rug"),
        (ParsedCaption(Phrase("dog"), "sitting on", Phrase("rug")), "dog sitting on rug"),
        (ParsedCaption(Phrase("dog"), "sleeping"), "dog sleeping"),
        (ParsedCaption(Phrase("dog", ("small",))), "small dog"),
        (ParsedCaption(Phrase("apple")), "apple"),
        (ParsedCaption(Phrase("")), ""),
    ],
)
def test_factual(parsed: ParsedCaption, text: str) -> None:
    # The paper's template, as far as the caption fills it.
    assert factual(parsed) == text


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        # The paper's example of a caption that is too simple.
        ("a picture of an apple", "apple"),
        (
            "A photo of a small red ball above a large striped blue box on the grass.",
            "small red ball above large striped blue box",
        ),
        ("the old bridge was built by soldiers", "old bridge built by soldiers"),
    ],
)
def test_factual_of_a_caption(caption: str, text: str) -> None:
    assert factual(Lexicon().parse(caption)) == text


@pytest.mark.parametrize(
    ("most", "text"),
    [(0, "dog sitting on rug"), (1, "brown dog sitting on red rug"), (2, factual(DOG)), (9, factual(DOG))],
)
def test_simplify(most: int, text: str) -> None:
    # The adjectives nearest to the nouns are kept.
    assert factual(simplify(DOG, most)) == text


def test_simplify_without_object() -> None:
    assert simplify(ParsedCaption(Phrase("dog", ("small", "brown")), "sleeping")) == ParsedCaption(
        Phrase("dog", ("brown",)), "sleeping"
    )


def test_other_adjectives() -> None:
    found = made(DOG, kinds=["adjectives"])
    # Each adjective is replaced, by another one each; nouns and relation stay. Three replacements in any order.
    assert found == {
        f"{a} {b} dog sitting on {c} rug"
        for a in ONE_EACH.adjectives
        for b in ONE_EACH.adjectives
        for c in ONE_EACH.adjectives
        if len({a, b, c}) == 3
    }


def test_other_relation() -> None:
    assert made(DOG, kinds=["relation"]) == {"small brown dog under red rug", "small brown dog running red rug"}
    # Where there is no object, nothing that needs one: a dog is not "under".
    assert made(ParsedCaption(Phrase("dog"), "sleeping"), kinds=["relation"]) == {"dog running"}


def test_other_nouns() -> None:
    # Both nouns are replaced, adjectives and relation stay.
    assert made(DOG, kinds=["nouns"]) == {
        "small brown cat sitting on red mat",
        "small brown mat sitting on red cat",
    }


def test_compounds_are_replaced_whole() -> None:
    players = ParsedCaption(Phrase("football player"), "with", Phrase("ball"))
    assert made(players, kinds=["nouns"]) == {"cat with mat", "mat with cat"}


@pytest.mark.parametrize(
    ("parsed", "expected"),
    [
        # No adjectives: the relation or the nouns.
        (
            ParsedCaption(Phrase("dog"), "on", Phrase("rug")),
            {"dog under rug", "dog running rug", "cat on mat", "mat on cat"},
        ),
        # No object: its adjectives and noun are not missed.
        (
            ParsedCaption(Phrase("dog", ("small",)), "sleeping"),
            {
                "new dog sleeping",
                "old dog sleeping",
                "hot dog sleeping",
                "small dog running",
                "small cat sleeping",
                "small mat sleeping",
            },
        ),
        # Adjectives of the object alone.
        (
            ParsedCaption(Phrase("dog"), "on", Phrase("rug", ("red",))),
            {
                "dog on new rug",
                "dog on old rug",
                "dog on hot rug",
                "dog under red rug",
                "dog running red rug",
                "cat on red mat",
                "mat on red cat",
            },
        ),
        # A noun alone.
        (ParsedCaption(Phrase("apple")), {"cat", "mat"}),
        # Nothing at all: still something else than nothing.
        (ParsedCaption(Phrase("")), {"cat", "mat"}),
    ],
)
def test_what_is_missing_is_passed_over(parsed: ParsedCaption, expected: set[str]) -> None:
    assert made(parsed) == expected


def test_nouns_where_none_of_the_kinds_applies() -> None:
    apple = ParsedCaption(Phrase("apple"))
    assert made(apple, kinds=["adjectives", "relation"]) == {"cat", "mat"}


def test_kinds_are_drawn_uniformly() -> None:
    rng = random.Random(0)

    def kind_of(text: str) -> str:
        if "dog" not in text:
            return "nouns"
        return "adjectives" if "sitting" in text else "relation"

    counts = Counter(kind_of(counterfactual(DOG, rng)) for _ in range(3000))
    # A third each (five standard errors are 129).
    assert len(counts) == 3
    assert all(abs(count - 1000) < 129 for count in counts.values())


def test_nothing_like_the_original() -> None:
    shop = Repositories(
        adjectives=("large", "big", "bigger", "red"),
        relations=("on", "sitting on", "on top of", "beneath"),
        nouns=("ball", "balls", "globe", "box", "tent", "kite"),
    )
    parsed = ParsedCaption(Phrase("ball", ("large",)), "on", Phrase("box"))
    # Neither the words themselves nor their forms and synonyms, nor the other noun.
    assert made(parsed, shop) == {
        "red ball on box",
        "large ball beneath box",
        "large tent on kite",
        "large kite on tent",
    }


def test_shipped_replacements_say_something_else() -> None:
    for seed in SEEDS:
        adjectives = counterfactual(DOG, random.Random(seed), kinds=["adjectives"]).split()
        nouns = counterfactual(DOG, random.Random(seed), kinds=["nouns"]).split()
        relation = counterfactual(DOG, random.Random(seed), kinds=["relation"])
        # Every replaced word is unlike all words that it replaces.
        assert not any(
            words_alike(new, old) for new in (*adjectives[:2], adjectives[5]) for old in ("small", "brown", "red")
        )
        assert not any(words_alike(new, old) for new in (nouns[2], nouns[6]) for old in ("dog", "rug"))
        assert not relations_alike(relation.removeprefix("small brown dog ").removesuffix(" red rug"), "sitting on")


def test_a_repository_of_synonyms_is_refused() -> None:
    with pytest.raises(ValueError, match="all 2 replacements are like one of large; add others"):
        made(ParsedCaption(Phrase("ball", ("large",))), Repositories(("large", "big"), (), ()), kinds=["adjectives"])


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        # Golden results: another process, hash seed or machine gives the same ones.
        (0, "small brown dog next to red rug"),
        (1, "shattered bland dog sitting on foremost rug"),
        (5, "small brown fish sitting on red key"),
        (7, "small brown dog defrayed by red rug"),
    ],
)
def test_same_seed_same_counterfactual(seed: int, expected: str) -> None:
    assert counterfactual(DOG, random.Random(seed)) == expected


def test_sub_captions() -> None:
    captions = ["a picture of an apple", "12 34", "a small red ball above a box", "a picture of an apple"]
    found = list(make_sub_captions(captions, Lexicon(), seed=0))
    # In order, one for each; simplified to one adjective for each noun; a caption without words stands for itself.
    assert [(row.caption, row.factual) for row in found] == [
        ("a picture of an apple", "apple"),
        ("12 34", "12 34"),
        ("a small red ball above a box", "red ball above box"),
        ("a picture of an apple", "apple"),
    ]
    # The negative always differs from the positive.
    assert all(row.counterfactual not in ("", row.factual) for row in found)
    # The same again, and independent of what follows; equal captions at different places get different ones.
    assert list(make_sub_captions(captions[:2], Lexicon(), seed=0)) == found[:2]
    assert found[0].counterfactual != found[3].counterfactual
    # Another seed, other counterfactuals; another number of adjectives, other factuals.
    assert [row.counterfactual for row in make_sub_captions(captions, Lexicon(), seed=1)] != [
        row.counterfactual for row in found
    ]
    (both,) = make_sub_captions(captions[2:3], Lexicon(), seed=0, most_adjectives=2)
    assert isinstance(both, SubCaptions)
    assert both.factual == "small red ball above box"
