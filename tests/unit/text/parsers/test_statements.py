"""Rules from tagged words to statements, one by one; the tags are given, so that no tagger is under test."""

import pytest

from bdray.text.parsers.base import ParsedCaption, Phrase
from bdray.text.parsers.statements import find_statements, state

Expected = tuple[str, str, str]
"""Subject, relation and object as they are printed."""


def tagged(text: str) -> list[tuple[str, str]]:
    """``a/DT dog/NN``; ``~`` stands for the spaces of a preposition."""
    pairs = [word.rsplit("/", 1) for word in text.split()]
    return [(word.replace("~", " "), tag) for word, tag in pairs]


def show(statements: list[ParsedCaption]) -> list[Expected]:
    return [(str(found.subject), found.relation, str(found.object or "")) for found in statements]


@pytest.mark.parametrize(
    ("text", "main"),
    [
        # Determiners, numbers and possessives are left out, adjectives and compounds kept.
        ("the/DT two/CD small/JJ football/NN players/NNS", ("small football players", "", "")),
        ("a/DT woman/NN 's/POS red/JJ hand/NN on/IN his/PRP$ arm/NN", ("red hand", "on", "arm")),
        ("red/JJ and/CC white/JJ flowers/NNS", ("red white flowers", "", "")),
        ("freshly/RB baked/JJ bread/NN", ("baked bread", "", "")),
        # Verbs keep their prepositions and lose auxiliaries and adverbs.
        ("a/DT dog/NN is/BE slowly/RB running/VBG up/IN to/TO a/DT man/NN", ("dog", "running up to", "man")),
        ("a/DT house/NN has/VBZ been/BE built/VBN by/IN men/NNS", ("house", "built by", "men")),
        ("men/NNS can/MD not/RB lift/VB it/PRP", ("men", "lift", "")),
        ("a/DT kitchen/NN has/VBZ tables/NNS", ("kitchen", "has", "tables")),
        # Verbs in a row.
        ("men/NNS learn/VB to/TO swim/VB in/IN pools/NNS", ("men", "learn to swim in", "pools")),
        ("a/DT man/NN rests/VBZ after/IN winning/VBG a/DT game/NN", ("man", "rests after winning", "game")),
        ("she/PRP looks/VBZ happy/JJ", None),
        ("a/DT star/NN looks/VBZ stunning/VBG in/IN red/NN", ("star", "looks in", "red")),
        # A verb without object; prepositions that lead nowhere go, adverbial ones stay.
        ("a/DT bird/NN sleeps/VBZ", ("bird", "sleeps", "")),
        ("a/DT dog/NN looks/VBZ up/IN", ("dog", "looks up", "")),
        ("a/DT dog/NN waits/VBZ for/IN it/PRP", ("dog", "waits", "")),
        # What happens last year is no object.
        ("a/DT zoo/NN opened/VBN last/DT year/NN in/IN town/NN", ("zoo", "opened in", "town")),
        # Ranks: finite verb, participle, preposition, "of".
        ("a/DT man/NN in/IN mud/NN wearing/VBG boots/NNS laughs/VBZ at/IN her/PRP", ("man", "laughs", "")),
        ("a/DT man/NN in/IN mud/NN wearing/VBG boots/NNS", ("man", "wearing", "boots")),
        ("the/DT roof/NN of/IN a/DT barn/NN in/IN snow/NN", ("roof", "in", "snow")),
        ("the/DT roof/NN of/IN a/DT barn/NN", ("roof", "of", "barn")),
        # Of several subjects, the first counts.
        ("a/DT bride/NN and/CC a/DT groom/NN dance/VB in/IN rain/NN", ("bride", "dance in", "rain")),
        ("figs/NNS ,/, nuts/NNS and/CC bread/NN on/IN a/DT table/NN", ("figs", "on", "table")),
        # Copula: an adjective of the subject, a preposition, or "is" itself.
        ("the/DT sky/NN is/BE very/RB blue/JJ and/CC clear/JJ", ("blue clear sky", "", "")),
        ("a/DT key/NN is/BE under/IN the/DT mat/NN", ("key", "under", "mat")),
        ("a/DT lion/NN is/BE the/DT king/NN", ("lion", "is", "king")),
        ("the/DT sky/NN is/BE", ("sky", "", "")),
        # Asides between commas, and what comes first and ends with a comma, are passed over.
        ("x/NN ,/, a/DT retired/JJ cook/NN ,/, lives/VBZ in/IN y/NN", ("x", "lives in", "y")),
        ("a/DT zoo/NN ,/, which/W opened/VBN ,/, has/VBZ lions/NNS", ("zoo", "has", "lions")),
        ("in/IN this/DT photo/NN ,/, a/DT man/NN eats/VBZ figs/NNS", ("man", "eats", "figs")),
        # Another clause says nothing of the subject.
        ("a/DT garden/NN where/W children/NNS play/VB", ("garden", "", "")),
        ("a/DT man/NN smiles/VBZ as/IN the/DT ship/NN leaves/VBZ", ("man", "smiles", "")),
        ("a/DT man/NN dressed/VBN as/IN a/DT pirate/NN", ("man", "dressed as", "pirate")),
        # There is a picture; so what?
        ("a/DT nice/JJ picture/NN of/IN an/DT apple/NN", ("apple", "", "")),
        ("an/DT image/NN showing/VBG a/DT man/NN in/IN snow/NN", ("man", "in", "snow")),
        ("a/DT line/NN drawing/VBG of/IN a/DT swan/NN", ("swan", "", "")),
        ("there/EX is/BE a/DT cat/NN on/IN a/DT sofa/NN", ("cat", "on", "sofa")),
        ("this/DT is/BE one/CD of/IN my/PRP$ best/JJ cakes/NNS", ("best cakes", "", "")),
        # A picture that is a thing.
        ("a/DT picture/NN on/IN a/DT wall/NN", ("picture", "on", "wall")),
        # Words that only count, of the subject and of the object.
        ("a/DT group/NN of/IN men/NNS eating/VBG a/DT pile/NN of/IN figs/NNS", ("men", "eating", "figs")),
        # Without a subject, the first noun, and nothing said of it.
        ("how/W to/TO draw/VB a/DT dragon/NN on/IN paper/NN", ("dragon", "", "")),
        ("walking/VBG the/DT dog/NN in/IN town/NN", ("dog", "", "")),
        ("on/IN the/DT beach/NN", ("beach", "", "")),
        # Tags that are corrected: colors that are things, and compounds of a noun and a participle.
        ("a/DT large/JJ orange/NN boot/NN", ("large orange boot", "", "")),
        ("a/DT horse/NN drawn/VBN cart/NN waits/VBZ", ("horse drawn cart", "waits", "")),
    ],
)
def test_main_statement(text: str, main: Expected | None) -> None:
    found = show(find_statements([tagged(text)]))
    assert (found[0] if found else None) == main


def test_adjectives_are_no_part_of_the_noun() -> None:
    found = find_statements([tagged("a/DT small/JJ red/JJ oil/NN lamp/NN on/IN an/DT old/JJ wall/NN")])
    # Adjectives in the order of the caption; the compound whole.
    assert found == [ParsedCaption(Phrase("oil lamp", ("small", "red")), "on", Phrase("wall", ("old",)))]
    colored = find_statements([tagged("a/DT large/JJ orange/NN boot/NN")])
    assert colored == [ParsedCaption(Phrase("boot", ("large", "orange")))]


def test_all_statements_of_the_subject() -> None:
    found = show(find_statements([tagged("a/DT cap/NN of/IN wool/NN on/IN a/DT shelf/NN under/IN a/DT lamp/NN")]))
    # The main one first, then the others in the order of the caption, "of" last.
    assert found == [("cap", "on", "shelf"), ("cap", "under", "lamp"), ("cap", "of", "wool")]


def test_first_clause_with_a_relation() -> None:
    clauses = [tagged("wow/UH"), tagged("daily/JJ news/NN"), tagged("a/DT man/NN eats/VBZ figs/NNS")]
    # A title before the sentence says less than the sentence; alone, it has to do.
    assert show(find_statements(clauses)) == [("man", "eats", "figs")]
    assert show(find_statements(clauses[:2])) == [("daily news", "", "")]
    assert find_statements(clauses[:1]) == []


def test_without_noun_the_last_word_is_the_subject() -> None:
    assert state("How to swim!", [tagged("how/W to/TO swim/VB")]) == [ParsedCaption(Phrase("swim"))]
    # And without words there is none.
    assert state("12 !", [tagged("12/CD")]) == [ParsedCaption(Phrase(""))]


def test_long_runs_of_nouns_are_cut() -> None:
    (found,) = find_statements([tagged("eins/NN zwei/NN drei/NN vier/NN ball/NN")])
    # The head is kept.
    assert found.subject == Phrase("zwei drei vier ball")
