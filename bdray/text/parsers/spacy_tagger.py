"""The built-in rules on spaCy's tags."""

from collections.abc import Sequence
from functools import cache, partial
from importlib import import_module
from typing import Any, Literal

from bdray.exceptions import DataError
from bdray.registry import component
from bdray.text.parsers.base import CaptionParser, ParsedCaption
from bdray.text.parsers.clauses import split_clauses
from bdray.text.parsers.penn import tag_with
from bdray.text.parsers.statements import state


@component
class SpacyTagger(CaptionParser):
    """As ``lexicon``, but with parts of speech from a spaCy pipeline.

    Needs spaCy and the pipeline on every machine: ``pip install spacy`` and ``python -m spacy download PIPELINE``.
    """

    type: Literal["spacy"] = "spacy"

    pipeline: str = "en_core_web_sm"
    """Name or folder of a spaCy pipeline for English."""

    def check(self) -> None:
        load_pipeline("spacy", self.pipeline)

    def statements(self, caption: str) -> Sequence[ParsedCaption]:
        tagger = partial(_tags, self.pipeline)
        return state(caption, [tag_with(tagger, clause) for clause in split_clauses(caption)])


def _tags(pipeline: str, words: list[str]) -> list[str]:
    loaded = load_pipeline("spacy", pipeline)
    document = import_module("spacy.tokens").Doc(loaded.vocab, words=words)
    for _, step in loaded.pipeline:
        document = step(document)
    return [token.tag_ for token in document]


@cache
def load_pipeline(parser: str, pipeline: str) -> Any:
    """Load a spaCy pipeline once.

    Args:
        parser: The ``type`` of the parser that needs it, for the message.
        pipeline: Its name or folder.

    Raises:
        DataError: If spaCy or the pipeline is not installed.
    """
    try:
        return import_module("spacy").load(pipeline)
    except (ImportError, OSError) as error:
        raise DataError(
            f"parser: {parser!r} needs spaCy and its pipeline {pipeline!r}, which are not installed on this machine. "
            f"Install them with `pip install spacy` and `python -m spacy download {pipeline}`, "
            "or choose parser: lexicon."
        ) from error
