"""Printed numbers along sizes of the paper's own, which stand beside a scaling study rather than on its axis."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bdray.exceptions import ConfigError
from bdray.report.picks import Pick
from bdray.report.published import known_metric, lines_of, parts_of

UNITS = {"": 1.0, "K": 1e3, "M": 1e6}


@dataclass(frozen=True)
class PublishedCurve:
    """One metric of one attack and defense, over the sizes of a table."""

    pick: Pick
    metric: str
    """Our name of the metric."""
    attack: str
    """As the paper's table names it."""
    defense: str
    """As the paper's table names it."""
    values: dict[float, float]
    """By size; a rate is a fraction in [0, 1]."""

    @property
    def size_label(self) -> str:
        """What the sizes count, in the words of the table: ``poisons``."""
        return " ".join((self.pick.sizes or "").replace("{}", " ").split())


def published_curves(picks: Iterable[Pick]) -> tuple[PublishedCurve, ...]:
    """Look up the picks that are such curves.

    Raises:
        ConfigError: If the papers print nothing of that kind, or two numbers for one place.
    """
    return tuple(curve for pick in picks if pick.sizes is not None for curve in _look_up(pick))


def _look_up(pick: Pick) -> list[PublishedCurve]:
    where, lines = f"published ({pick.title}): sizes", lines_of(pick)
    found: dict[tuple[str, str, str], dict[float, float]] = {}
    for line in lines:
        size = _size(pick.sizes or "", line["setting"])
        known = known_metric(line)
        if size is None or known is None:
            continue
        metric, divisor = known
        curve = found.setdefault((metric, line["attack"], line["defense"]), {})
        if size in curve:
            raise ConfigError(
                f"{where}: {line['metric']} is printed twice for {size:g}. Set `setting` to tell them apart."
            )
        curve[size] = float(line["value"]) / divisor
    if not found:
        settings = sorted({part for line in lines for part in parts_of(line["setting"])})
        raise ConfigError(
            f"{where}: no setting has a number at {pick.sizes!r}. What settings are made of: {', '.join(settings)}."
        )
    return [
        PublishedCurve(pick, metric, attack, defense, dict(sorted(curve.items())))
        for (metric, attack, defense), curve in found.items()
    ]


def _size(pattern: str, setting: str) -> float | None:
    """The number in the part of a setting that looks like ``pattern``: 500000 for ``500K``."""
    before, after = map(re.escape, pattern.split("{}"))
    expression = re.compile(rf"{before}(\d+(?:\.\d+)?)([KM]?){after}")
    numbers = [match for part in parts_of(setting) if (match := expression.fullmatch(part))]
    return float(numbers[0][1]) * UNITS[numbers[0][2]] if numbers else None
