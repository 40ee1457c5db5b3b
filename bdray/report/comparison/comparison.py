"""Studies beside each other: their shared metrics, place by place, and the differences that may be taken."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bdray.exceptions import ConfigError
from bdray.report.comparison.places import Place
from bdray.report.comparison.sides import Side, read_sides
from bdray.report.comparison.subtraction import Difference, num_left_out, subtract
from bdray.report.goals import list_words
from bdray.report.statistics import Estimate, estimate
from bdray.report.study import Metric


@dataclass(frozen=True)
class Line:
    """One metric at one place."""

    place: Place
    values: tuple[Estimate, ...]
    """By side; without a seed where a study lacks the place."""


@dataclass(frozen=True)
class Comparison:
    """Some studies, measured by the first."""

    sides: tuple[Side, ...]
    metrics: tuple[Metric, ...]
    """Those of the first study that all have."""
    lines: dict[str, tuple[Line, ...]]
    """By metric, attack by attack; attacks that several studies have come first."""
    shared_attacks: frozenset[str]
    """Identities of attacks that several studies have."""
    differences: dict[str, tuple[Difference, ...]]
    """By metric."""
    num_left_out: int
    """Pairs of different defenses that are too many to subtract."""

    @property
    def title(self) -> str:
        return f"Comparison of {list_words([side.name for side in self.sides])}"

    def num_tests(self, metric: Metric) -> int:
        """Comparisons that Holm's adjustment counts."""
        return sum(not math.isnan(found.contrast.p) for found in self.differences[metric.name])


def compare(folders: Sequence[Path]) -> Comparison:
    """Read the studies and compare them with the first.

    Raises:
        ConfigError: If one of the folders has no study, or the studies have no metric in common.
        DataError: If a file of results is damaged.
    """
    sides = read_sides(folders)
    frames = [side.results.models for side in sides]
    wanted = sides[0].results.study.metrics
    metrics = tuple(metric for metric in wanted if all(metric.name in frame.columns for frame in frames))
    if not metrics:
        lists = "; ".join(f"{side.name} has {', '.join(m.name for m in side.results.study.metrics)}" for side in sides)
        raise ConfigError(f"{lists}: there is no metric that all of these studies have. Compare others.")
    attacks = [{identity[0] for identity in side.places} for side in sides]
    shared = frozenset(attack for own in attacks for attack in own if sum(attack in other for other in attacks) > 1)
    return Comparison(
        sides=sides,
        metrics=metrics,
        lines={metric.name: _lines(sides, metric, shared) for metric in metrics},
        shared_attacks=shared,
        differences={metric.name: subtract(sides, metric) for metric in metrics},
        num_left_out=num_left_out(sides),
    )


def _lines(sides: Sequence[Side], metric: Metric, shared: frozenset[str]) -> tuple[Line, ...]:
    names = {identity: place for side in reversed(sides) for identity, (place, _) in side.places.items()}
    known = list(dict.fromkeys(identity for side in sides for identity in side.places))
    attacks = list(dict.fromkeys(identity[0] for identity in known))
    ordered = sorted(known, key=lambda identity: (identity[0] not in shared, attacks.index(identity[0])))
    lines = [Line(names[identity], tuple(_value(side, metric, identity) for side in sides)) for identity in ordered]
    return tuple(line for line in lines if any(value.n for value in line.values))


def _value(side: Side, metric: Metric, identity: tuple[str, ...]) -> Estimate:
    rows = side.places.get(identity)
    return estimate(list(rows[1][metric.name]) if rows else [], side.results.study.interval)
