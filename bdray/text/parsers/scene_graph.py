"""SceneGraphParser, which CleanerCLIP uses."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Literal

from bdray.exceptions import DataError
from bdray.registry import component
from bdray.text.parsers.base import CaptionParser, ParsedCaption, Phrase
from bdray.text.parsers.caption_words import DEPICTIONS
from bdray.text.parsers.spacy_tagger import load_pipeline
from bdray.text.words import split_words


@component
class SceneGraph(CaptionParser):
    """Entities and relations of SceneGraphParser, from spaCy's dependencies (github.com/vacancy/SceneGraphParser).

    The parser of CleanerCLIP (section 3.2) and, before it, of MosaiCLIP. Needs it and spaCy on every machine:
    ``pip install SceneGraphParser spacy`` and ``python -m spacy download PIPELINE``.
    """

    type: Literal["sng_parser"] = "sng_parser"

    pipeline: str = "en_core_web_sm"
    """Name or folder of a spaCy pipeline for English."""

    def check(self) -> None:
        _parser(self.pipeline)

    def statements(self, caption: str) -> Sequence[ParsedCaption]:
        words = split_words(caption)
        found = list(read_graph(_parser(self.pipeline).parse(caption.lower()))) if words else []
        return found or [ParsedCaption(Phrase(words[-1] if words else ""))]


def read_graph(graph: Mapping[str, Any]) -> Iterator[ParsedCaption]:
    """The relations of one entity, in the order of the graph; without any, the entity alone.

    It is the first one that is in a relation. ``a picture of`` something counts for nothing.

    Args:
        graph: ``entities``, each with its ``head`` and ``modifiers``, and ``relations`` between their numbers.
    """
    phrases = [
        Phrase(entity["head"], tuple(part["span"] for part in entity["modifiers"] if part["dep"] == "amod"))
        for entity in graph["entities"]
    ]
    pictures = {
        relation["subject"]
        for relation in graph["relations"]
        if relation["relation"] == "of" and phrases[relation["subject"]].noun.split()[-1] in DEPICTIONS
    }
    relations = [relation for relation in graph["relations"] if relation["subject"] not in pictures]
    for relation in relations:
        if relation["subject"] == relations[0]["subject"]:
            yield ParsedCaption(phrases[relation["subject"]], relation["relation"], phrases[relation["object"]])
    things = [phrase for number, phrase in enumerate(phrases) if number not in pictures]
    if things and not relations:
        yield ParsedCaption(things[0])


@cache
def _parser(pipeline: str) -> Any:
    load_pipeline("sng_parser", pipeline)
    try:
        return import_module("sng_parser").Parser("spacy", model=pipeline)
    except ImportError as error:
        raise DataError(
            "parser: 'sng_parser' needs SceneGraphParser, which is not installed on this machine. "
            "Install it with `pip install SceneGraphParser`, or choose parser: lexicon."
        ) from error
