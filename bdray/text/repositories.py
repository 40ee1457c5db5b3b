"""Where counterfactual sub-captions take their replacements from."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SHIPPED = Path(__file__).parent / "data" / "repositories.json"
"""Written by ``scripts/build_repositories.py``, which says what it holds."""


@dataclass(frozen=True)
class Repositories:
    """Replacements of each kind; 3,000 of each in the paper (CleanerCLIP, section 3.2) and in the shipped ones."""

    adjectives: tuple[str, ...]
    relations: tuple[str, ...]
    """Verbs with and without prepositions, and prepositions."""
    nouns: tuple[str, ...]


@cache
def shipped_repositories() -> Repositories:
    """Words of WordNet, from common to rare. The paper's, made with ChatGPT besides, were not published."""
    lists = json.loads(SHIPPED.read_text(encoding="utf-8"))
    return Repositories(**{kind: tuple(words) for kind, words in lists.items()})
