"""CleanerCLIP's counterfactual sub-captions as an augmentation."""

import random
from typing import Annotated, Literal

from pydantic import Field

from bdray.registry import component
from bdray.text.base import TextAugmentation
from bdray.text.parsers.base import CaptionParser
from bdray.text.parsers.lexicon import Lexicon
from bdray.text.sub_captions import MOST_ADJECTIVES, REPLACEMENTS, Replacement, counterfactual, simplify
from bdray.text.words import split_words


@component
class Counterfactual(TextAugmentation):
    """What a caption says in short, with other adjectives, another relation or other nouns (CleanerCLIP, section 3.2).

    The paper's negative sub-captions, which its loss pushes away from the image. As an augmentation, which a defense
    takes for another caption of the same image, this is a control: it should do harm.
    """

    type: Literal["counterfactual"] = "counterfactual"

    parser: CaptionParser = Lexicon()
    """Finds subject, relation and object."""

    replacements: Annotated[tuple[Replacement, ...], Field(min_length=1)] = REPLACEMENTS
    """What to replace; one of these is drawn for each caption, among those that it has. Nouns where it has none."""

    most_adjectives: int = Field(default=MOST_ADJECTIVES, ge=0)
    """Adjectives to keep of each noun, those nearest to it."""

    def check(self) -> None:
        self.parser.check()

    def augment(self, caption: str, rng: random.Random) -> str:
        if not split_words(caption):
            return caption
        parsed = simplify(self.parser.parse(caption), self.most_adjectives)
        return counterfactual(parsed, rng, kinds=self.replacements)
