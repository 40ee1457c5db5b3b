"""What is wrong with a sample that is left out, and the count of those."""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "missing file", "unsafe path", "broken image", "absurd size", "no image",
    "no caption", "caption is no text", "absurd caption", "duplicate", "damaged shard",
]  # fmt: skip
"""``damaged shard`` is of a file that holds samples: what follows the damage is lost. All others are of one sample."""
MAX_EXAMPLES = 20
"""Of each kind; the counts are of all."""
MAX_CAPTION = 10_000
"""Characters. Tokenizers cut after 77 tokens; what is longer than this is a page and no caption."""

VISIBLE = "LNS"
"""Letters, numbers, and symbols, of which emoji are some: Unicode's general categories that a caption has one of."""


class BadSampleError(Exception):
    """A sample breaks a rule. Never leaves the package ``bdray.data``: such samples are left out and counted."""

    def __init__(self, kind: Kind, detail: str = "") -> None:
        super().__init__(kind, detail)
        self.kind: Kind = kind
        self.detail = detail


@dataclass
class Tally:
    """Bad samples by kind, in the order in which they were met."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Where the first ones of each kind are, and details."""

    def add(self, where: str, bad: BadSampleError) -> None:
        """Count one."""
        self.counts[bad.kind] += 1
        known = self.examples.setdefault(bad.kind, [])
        if len(known) < MAX_EXAMPLES:
            known.append(f"{where}: {bad.detail}" if bad.detail else where)

    @property
    def total(self) -> int:
        """Bad samples of all kinds."""
        return sum(count for kind, count in self.counts.items() if kind != "damaged shard")

    def as_json(self) -> dict[str, Any]:
        """Counts and examples."""
        return {"counts": dict(sorted(self.counts.items())), "examples": dict(sorted(self.examples.items()))}

    def lines(self, per_kind: int = 3) -> Iterator[str]:
        """For people: one line of each kind and some examples, the most frequent first."""
        for kind, count in self.counts.most_common():
            yield f"{count} x {kind}"
            yield from (f"    {example}" for example in self.examples[kind][:per_kind])


def clean_caption(raw: object) -> str:
    """A caption on one line, with single spaces.

    Raises:
        BadSampleError: If it is missing, empty or nothing but punctuation and invisible characters, no text, or far too
            long.
    """
    if raw is None or (isinstance(raw, float) and raw != raw):
        raise BadSampleError("no caption")
    if not isinstance(raw, str):
        raise BadSampleError("caption is no text", f"it is a {type(raw).__name__}")
    if len(raw) > MAX_CAPTION:
        raise BadSampleError("absurd caption", f"{len(raw)} characters")
    if any(_is_no_text(character) for character in raw):
        raise BadSampleError("caption is no text", "it holds bytes that are no characters")
    caption = " ".join(raw.split())
    if not any(unicodedata.category(character)[0] in VISIBLE for character in caption):
        raise BadSampleError("no caption", repr(caption[:80]) if caption else "")
    return caption


def _is_no_text(character: str) -> bool:
    """Whether this is a NUL, a replacement character, or half of a pair, which reading wrong bytes leaves behind."""
    return character in "\0\ufffd" or "\ud800" <= character <= "\udfff"
