"""CleanerCLIP's factual sub-captions as an augmentation."""

import random
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from bdray.registry import component
from bdray.text.base import TextAugmentation
from bdray.text.parsers.base import CaptionParser, Phrase
from bdray.text.parsers.lexicon import Lexicon
from bdray.text.sub_captions import factual
from bdray.text.words import split_words

Share = Annotated[float, Field(ge=0, le=1)]


@component
class Factual(TextAugmentation):
    """What a caption says in short: ``(adjectives) subject relation (adjectives) object`` (CleanerCLIP, section 3.2).

    The paper's positive sub-captions, to be put in the place of EDA. It says that adjectives are "selectively"
    simplified or omitted, not by which rule; here each is omitted at random.
    """

    type: Literal["factual"] = "factual"

    parser: CaptionParser = Lexicon()
    """Finds subject, relation and object."""

    omission: Share = 0.5
    """Probability of each adjective to be left out."""

    statement: Literal["main", "any"] = "any"
    """``main``: the main relation of the caption, as in the paper. ``any``: a random one of those that its subject has,
    such as a ball that is on the grass and next to a house."""

    def check(self) -> None:
        self.parser.check()

    def augment(self, caption: str, rng: random.Random) -> str:
        if not split_words(caption):
            return caption
        statements = self.parser.statements(caption)
        parsed = rng.choice(statements) if self.statement == "any" else statements[0]
        return factual(
            replace(
                parsed,
                subject=self._omit(parsed.subject, rng),
                object=parsed.object and self._omit(parsed.object, rng),
            )
        )

    def _omit(self, phrase: Phrase, rng: random.Random) -> Phrase:
        return replace(phrase, adjectives=tuple(word for word in phrase.adjectives if rng.random() >= self.omission))
