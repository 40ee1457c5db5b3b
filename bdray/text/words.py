"""How a caption becomes words."""

import re

STOP_WORDS = frozenset(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
    it its itself they them their theirs themselves what which who whom this that these those am is are was were be
    been being have has had having do does did doing a an the and but if or because as until while of at by for with
    about against between into through during before after above below to from up down in out on off over under again
    further then once here there when where why how all any both each few more most other some such no nor not only
    own same so than too very s t can will just don should now
    """.split()  # noqa: SIM905 - the literal would be 127 lines long
)
"""English function words, which have no synonyms worth the name (NLTK's list, which EDA uses too)."""

_APOSTROPHES = str.maketrans("", "", "'\u2019")
_SEPARATORS = re.compile(r"[\x00-`{-¿\s\d\u2010-\u206f\u3000-\u303f]+")
"""All ASCII but a-z, and the digits and punctuation of other scripts: what stands between lower-case words."""


def split_words(caption: str) -> list[str]:
    """The words of a caption in lower case, without digits and punctuation (``"A dog's 2 toys."`` -> a, dogs, toys).

    For ASCII captions these are the words of EDA's public code. Letters beyond a-z, which that code erases, are kept,
    so that a caption in another language or script keeps its words.
    """
    return _SEPARATORS.sub(" ", caption.lower().translate(_APOSTROPHES)).split()
