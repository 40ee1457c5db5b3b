"""Where counterfactual sub-captions take their replacements from."""

import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from bdray.text.parsers.function_words import FUNCTION_WORDS

SHIPPED = Path(__file__).parent / "data" / "repositories.json"
"""Written by ``scripts/build_repositories.py``, which says what it holds."""


@dataclass(frozen=True)
class Repositories:
    """Replacements of each kind; 3,000 of each in the paper (CleanerCLIP, section 3.2) and in the shipped ones."""

    adjectives: tuple[str, ...]
    relations: tuple[str, ...]
    """Verbs with and without prepositions, and prepositions."""
    nouns: tuple[str, ...]

    @cached_property
    def complete_relations(self) -> tuple[str, ...]:
        """Those that need no object (``galloping``, but not ``galloping between``)."""
        return tuple(relation for relation in self.relations if not _is_preposition(relation.split()[-1]))


def _is_preposition(word: str) -> bool:
    return not {"IN", "TO"}.isdisjoint(FUNCTION_WORDS.get(word, {}))


@cache
def shipped_repositories() -> Repositories:
    """Words of WordNet, from common to rare. The paper's, made with ChatGPT besides, were not published."""
    lists = json.loads(SHIPPED.read_text(encoding="utf-8"))
    return Repositories(**{kind: tuple(words) for kind, words in lists.items()})
