"""Words of captions that need special treatment."""

DEPICTIONS = frozenset(
    """
    picture photo photograph image illustration drawing painting sketch view close-up closeup portrait silhouette shot
    vector cartoon rendering render clipart footage video film exposure icon logo print engraving caricature snapshot
    screenshot depiction watercolor animation selfie photography pic graphic
    """.split()  # noqa: SIM905
)
"""Nouns that, before ``of``, only say that there is a picture."""

QUANTITIES = frozenset(
    """
    group pair couple set lot lots bunch row rows number collection variety series range pile piles stack stacks crowd
    herd flock dozens hundreds thousands millions kind kinds type types sort sorts selection array assortment plenty
    piece pieces heap cluster handful swarm line lines part majority rest
    """.split()  # noqa: SIM905
)
"""Nouns that, before ``of`` and another noun, only count it."""

SHOWS = frozenset({"showing", "shows", "depicting", "depicts", "featuring", "features"})
"""What a depiction does."""

TIMES = frozenset("today tonight yesterday tomorrow day night week month year morning evening time".split())  # noqa: SIM905
"""Nouns that, after words such as ``last``, are no object (``opened last year``)."""

AUXILIARIES = frozenset({"has", "have", "had", "having", "do", "does", "did", "get", "gets", "getting", "got"})
"""Besides the forms of ``be``."""

LINKING = frozenset({"looks", "look", "looked", "looking", "seems", "seem", "seemed", "appears", "appear", "appeared"})
"""Verbs whose adjectives a tagger may take for participles (``looked stunning``)."""

ADVERBIAL = frozenset({"up", "down", "out", "off", "away", "back", "around", "inside", "outside", "over", "along"})
"""Prepositions that may stand without a noun."""

DANGLING = frozenset("to for with at of from by into onto as than like after before during in on".split())  # noqa: SIM905
"""Prepositions that a relation does not end with where there is no object."""

COMPOUND_PARTICIPLES = frozenset(
    """
    shaped covered drawn made lined filled colored coloured inspired themed painted based haired eyed faced sized
    woven knitted carved built fried roasted framed carpeted tiled decorated topped styled fed powered
    """.split()  # noqa: SIM905
)
"""Participles that, between two nouns, make an adjective of the first (``horse drawn carriage``)."""

COLORS = frozenset("orange cyan pink purple violet turquoise teal beige maroon lavender crimson scarlet".split())  # noqa: SIM905
"""Colors that are things, too."""
