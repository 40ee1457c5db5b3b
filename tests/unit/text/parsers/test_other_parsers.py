"""Parsers that need what is not shipped: NLTK's tagger, spaCy, SceneGraphParser."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import nltk
import pytest
from nltk.tag import PerceptronTagger

from bdray.config import build, dump
from bdray.exceptions import DataError
from bdray.text.parsers import nltk_tagger
from bdray.text.parsers.base import CaptionParser, ParsedCaption, Phrase
from bdray.text.parsers.nltk_tagger import NltkTagger
from bdray.text.parsers.penn import tag_with
from bdray.text.parsers.scene_graph import SceneGraph, read_graph
from bdray.text.parsers.spacy_tagger import SpacyTagger
from bdray.text.sub_captions import factual


def test_family() -> None:
    # A study names a parser by type.
    assert set(CaptionParser.members()) == {"lexicon", "nltk", "sng_parser", "spacy"}
    for name in CaptionParser.members():
        parser = build(CaptionParser, {"type": name}, "study.yaml")  # type: ignore[type-abstract]
        assert build(CaptionParser, dump(parser), "study.yaml") == parser  # type: ignore[type-abstract]


@pytest.fixture
def nltk_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in place of NLTK's data, whatever is installed on this machine."""
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    nltk_tagger._tagger.cache_clear()
    yield tmp_path
    nltk_tagger._tagger.cache_clear()


def test_missing_weights_say_what_to_do(nltk_data: Path) -> None:
    # The user reads which setting needs what, how to get it and what else to choose.
    with pytest.raises(DataError, match=r"nltk\.downloader averaged_perceptron_tagger_eng.*lexicon"):
        NltkTagger().check()


def test_nltk_tagger(nltk_data: Path) -> None:
    sentence = [("a", "DT"), ("quick", "JJ"), ("cat", "NNP"), ("chases", "VBZ"), ("dogs", "NNPS")]
    tagger = PerceptronTagger(load=False)
    tagger.train([sentence] * 20)
    folder = nltk_data / "taggers" / "averaged_perceptron_tagger_eng"
    folder.mkdir(parents=True)
    for name, parameters in zip(tagger.param_files("eng"), tagger.encode_json_obj(), strict=True):
        (folder / name).write_text(json.dumps(parameters))
    # Weights in NLTK's own format are found, and what they say is parsed; names of things are nouns.
    NltkTagger().check()
    found = NltkTagger().parse("A quick cat chases dogs!")
    assert found == ParsedCaption(Phrase("cat", ("quick",)), "chases", Phrase("dogs"))
    assert NltkTagger().parse("12") == ParsedCaption(Phrase(""))


def test_tags_of_trained_taggers() -> None:
    def tagger(words: list[str]) -> list[str]:
        # Prepositions of several words are shown to the tagger as one that it knows.
        assert words == ["many", "men", "who", "were", "seen", "run", "in", "it", "#"]
        return ["JJ", "NNS", "WP", "VBD", "VBN", "VBP", "IN", "PRP", "#"]

    clause = ["many", "men", "who", "were", "seen", "run", "in front of", "it", "#"]
    tags = [tag for _, tag in tag_with(tagger, clause)]
    # Words with one reading in our lists get that (many, were); others the like of what the tagger says.
    assert tags == ["DT", "NNS", "W", "BE", "VBN", "VB", "IN", "PRP", "NN"]


@pytest.mark.parametrize("parser", [SpacyTagger(pipeline="no_such_pipeline"), SceneGraph(pipeline="no_such_pipeline")])
def test_missing_pipeline_says_what_to_do(parser: CaptionParser) -> None:
    # Whether or not spaCy itself is installed.
    with pytest.raises(DataError, match=rf"'{parser.type}'.*pip install spacy.*download no_such_pipeline.*lexicon"):
        parser.check()


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("spacy", "sng_parser", "en_core_web_sm")),
    reason="needs spaCy, its en_core_web_sm and SceneGraphParser",
)
@pytest.mark.parametrize("parser", [SpacyTagger(), SceneGraph()])
def test_installed_pipeline(parser: CaptionParser) -> None:
    # A caption that leaves no doubt; one without words.
    assert factual(parser.parse("a small dog on a red rug")) == "small dog on red rug"
    assert parser.parse("12") == ParsedCaption(Phrase(""))


def entity(head: str, **modifiers: str) -> dict[str, object]:
    return {"head": head, "modifiers": [{"dep": dep, "span": span} for dep, span in modifiers.items()]}


def relation(subject: int, words: str, object_: int) -> dict[str, object]:
    return {"subject": subject, "relation": words, "object": object_}


def test_scene_graph() -> None:
    entities = [entity("picture", det="a"), entity("ball", det="a", amod="red"), entity("grass"), entity("house")]
    relations = [relation(0, "of", 1), relation(2, "of", 3), relation(1, "on", 2), relation(1, "near", 3)]
    ball = Phrase("ball", ("red",))
    # SceneGraphParser 0.1.0's format. The picture counts for nothing; the relations are all of one entity.
    found = list(read_graph({"entities": entities, "relations": [relations[0], *relations[2:], relations[1]]}))
    assert found == [ParsedCaption(ball, "on", Phrase("grass")), ParsedCaption(ball, "near", Phrase("house"))]
    # Without relations, the first entity that is no picture; without entities, nothing.
    assert list(read_graph({"entities": entities, "relations": relations[:1]})) == [ParsedCaption(ball)]
    assert list(read_graph({"entities": entities[2:], "relations": []})) == [ParsedCaption(Phrase("grass"))]
    assert list(read_graph({"entities": [], "relations": []})) == []
