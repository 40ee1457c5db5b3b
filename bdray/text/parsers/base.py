"""The family of caption parsers, and what they find."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from bdray.registry import Component


@dataclass(frozen=True)
class Phrase:
    """A noun and its adjectives."""

    noun: str
    """In lower case, with the nouns that it is compounded with (``football player``); the last word is the head."""
    adjectives: tuple[str, ...] = ()
    """In the order of the caption."""

    def __str__(self) -> str:
        return " ".join((*self.adjectives, self.noun))


@dataclass(frozen=True)
class ParsedCaption:
    """One statement of a caption: subject, relation, object."""

    subject: Phrase
    """Its noun is empty for a caption without words, and for no other."""
    relation: str = ""
    """A verb with its prepositions, or a preposition (``sitting on``, ``in front of``), without auxiliaries."""
    object: Phrase | None = None
    """None where the relation has no object (``sleeping``) and where there is no relation."""


class CaptionParser(Component):
    """A way to find subject, relation and object of a caption.

    A member is one file in this folder. Making one costs nothing; dictionaries and models are loaded with the first
    caption.
    """

    def check(self) -> None:
        """Refuse to start where a resource that the member needs is not installed.

        Raises:
            DataError: That names it and how to get it.
        """

    @abstractmethod
    def statements(self, caption: str) -> Sequence[ParsedCaption]:
        """Everything that the caption says of its subject, the main statement first.

        A pure function of the caption. Every string is accepted, in any language. At least one statement is
        returned; the first has a subject unless the caption has no words.

        Raises:
            DataError: If a resource that the member needs is not installed. Never because of the caption.
        """

    def parse(self, caption: str) -> ParsedCaption:
        """The main statement."""
        return self.statements(caption)[0]
