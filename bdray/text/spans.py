"""Spans: a run of the caption's words."""

import random
from typing import Annotated, Literal

from pydantic import Field

from bdray.registry import component
from bdray.text.base import TextAugmentation
from bdray.text.words import split_words

Shape = Annotated[float, Field(gt=0)]


@component
class Span(TextAugmentation):
    """A contiguous span as DeCLUTR samples its anchors (Giorgi et al., ACL 2021, section 3.1).

    Its length is ``floor(p (longest - shortest) + shortest)`` with ``p ~ Beta(alpha, beta)``, its start uniform.
    CleanerCLIP's supplement (section 12) puts DeCLUTR in the place of its own augmentation and does not say how.

    Deviations from DeCLUTR, which samples anchors of 32 to 512 tokens from documents of 2,048 and then positives
    around them, skewed to short spans (alpha 2, beta 4): captions are short, so that the longest span is the caption,
    and the span is itself the positive of the caption. Words come back as :func:`~bdray.text.words.split_words` has
    them.
    """

    type: Literal["span"] = "span"

    alpha: Shape = 4.0
    """First parameter of the Beta distribution of lengths; above ``beta``, long spans are more likely."""

    beta: Shape = 2.0
    """Second parameter of the Beta distribution of lengths."""

    shortest: int = Field(default=2, ge=1)
    """Fewest words of a span; shorter captions are kept whole."""

    def augment(self, caption: str, rng: random.Random) -> str:
        words = split_words(caption)
        if not words:
            return caption
        shortest = min(self.shortest, len(words))
        length = int(rng.betavariate(self.alpha, self.beta) * (len(words) - shortest) + shortest)
        start = rng.randrange(len(words) - length + 1)
        return " ".join(words[start : start + length])
