"""The built-in rules on NLTK's tags."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

from bdray.exceptions import DataError
from bdray.registry import component
from bdray.text.parsers.base import CaptionParser, ParsedCaption
from bdray.text.parsers.chunks import load_nltk
from bdray.text.parsers.clauses import split_clauses
from bdray.text.parsers.penn import tag_with
from bdray.text.parsers.statements import state


@component
class NltkTagger(CaptionParser):
    """As ``lexicon``, but with parts of speech from NLTK's averaged perceptron, which has learned them from news.

    Needs its weights on every machine: ``python -m nltk.downloader averaged_perceptron_tagger_eng``.
    """

    type: Literal["nltk"] = "nltk"

    def check(self) -> None:
        _tagger()

    def statements(self, caption: str) -> Sequence[ParsedCaption]:
        return state(caption, [tag_with(_tags, clause) for clause in split_clauses(caption)])


def _tags(words: list[str]) -> list[str]:
    return [tag for _, tag in _tagger().tag(words)]


@cache
def _tagger() -> Any:
    try:
        return load_nltk().tag.PerceptronTagger(lang="eng")
    except LookupError as error:
        raise DataError(
            "parser: 'nltk' needs the weights of NLTK's tagger, which are not installed on this machine. "
            "Install them with `python -m nltk.downloader averaged_perceptron_tagger_eng`, or choose parser: lexicon."
        ) from error
