"""The parser that needs nothing but this package."""

from collections.abc import Sequence
from typing import Literal

from bdray.registry import component
from bdray.text.parsers.base import CaptionParser, ParsedCaption
from bdray.text.parsers.clauses import split_clauses
from bdray.text.parsers.lexicon_tagger import tag
from bdray.text.parsers.statements import state


@component
class Lexicon(CaptionParser):
    """Parts of speech from WordNet's counts and their neighbors, phrases from NLTK's chunker, rules of word order.

    In place of SceneGraphParser, which CleanerCLIP uses (section 3.2) and which needs a spaCy model that is not on
    PyPI. ``benchmarks/caption_parser.py`` measures it on captions that were annotated by hand. Made for short English
    captions in the present tense; of others it finds at least some word. It does not know negations (``no dogs
    allowed`` gives ``dogs allowed``), and a relative clause without commas ends what is said of its noun.
    """

    type: Literal["lexicon"] = "lexicon"

    def statements(self, caption: str) -> Sequence[ParsedCaption]:
        return state(caption, [tag(clause) for clause in split_clauses(caption)])
