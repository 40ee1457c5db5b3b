"""What a benchmark leaves behind: numbers with date and machine, and the claims of issue 8 that they decide."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(os.environ.get("BENCHMARK_RESULTS") or Path(__file__).parent / "results")
"""Committed results are those of full forms; the short ones of ``make bench`` go elsewhere."""


@dataclass(frozen=True)
class Claim:
    """A number that has a target. ``scripts/update_readme.py`` shows all of them, missed ones as missed."""

    name: str
    """What was measured, in a few words."""
    measured: float
    unit: str
    """Such as ``s``; may be empty."""
    at_most: float | None = None
    at_least: float | None = None
    """The target: one of the two."""

    @property
    def met(self) -> bool:
        """Whether the number is where it should be."""
        assert (self.at_most is None) != (self.at_least is None)
        return self.measured <= self.at_most if self.at_most is not None else self.measured >= (self.at_least or 0)

    def as_json(self) -> dict[str, Any]:
        """The form in which results keep it."""
        sign, bound = ("≤", self.at_most) if self.at_most is not None else ("≥", self.at_least)
        target = f"{sign} {bound:g} {self.unit}".rstrip()
        return {"name": self.name, "measured": self.measured, "unit": self.unit, "target": target, "met": self.met}


def write(name: str, found: Mapping[str, Any], claims: Sequence[Claim] = ()) -> None:
    """Write ``NAME.json`` and print the claims."""
    head = {"date": datetime.now(UTC).date().isoformat(), "cpus": len(os.sched_getaffinity(0))}
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = {**head, **found, "claims": [claim.as_json() for claim in claims]}
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    for claim in result["claims"]:
        print(
            f"{'met' if claim['met'] else 'MISSED':>6}  {claim['name']}: {claim['measured']:g} {claim['unit']} "
            f"(target {claim['target']})"
        )
