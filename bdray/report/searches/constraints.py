"""Whether a point keeps the constraints of a search."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bdray.report.results import Results
from bdray.report.statistics import estimate
from bdray.report.study import Constraint, Metric, Point

TOLERANCE = 1e-9
"""How far beyond a bound still keeps it: means are rounded."""
Record = Mapping[Any, Any]
"""A row of ``results.csv``."""


@dataclass(frozen=True)
class Bound:
    """One bound of a constraint."""

    metric: Metric
    kind: Literal["at_least", "at_most", "max_loss"]
    value: float

    @property
    def is_lower(self) -> bool:
        """Whether less than the bound breaks it."""
        return self.kind == "at_least" or (self.kind == "max_loss" and self.metric.goal == "max")

    def limit(self, victim: float) -> float:
        """What the metric must reach or stay below; ``victim`` is what it is for the victim."""
        if self.kind != "max_loss":
            return self.value
        return victim - self.value if self.is_lower else victim + self.value

    def excess(self, value: float, victim: float) -> float:
        """By how much a value breaks the bound; at most zero if it does not, NaN if that is not known."""
        limit = self.limit(victim)
        over = limit - value if self.is_lower else value - limit
        return 0.0 if abs(over) <= TOLERANCE else over

    def say(self) -> str:
        """``CA of at least 80.0%``, ``CA at most 2.0 points below the victim's``."""
        if self.kind == "max_loss":
            size = f"{self.metric.show(self.value)}{self.metric.step_unit}"
            return f"{self.metric.label} at most {size} {'below' if self.is_lower else 'above'} the victim's"
        return f"{self.metric.label} of {self.kind.replace('_', ' ')} {self.metric.say_value(self.value)}"

    def say_excess(self, excess: float) -> str:
        """``CA by 2.0 points``."""
        least = 10.0**-self.metric.digits
        size = excess * self.metric.scale
        text = f"{size:.{self.metric.digits}f}" if size >= least else f"less than {least:.{self.metric.digits}f}"
        return f"{self.metric.label} by {text}{self.metric.step_unit}"


def bounds(constraints: Sequence[Constraint], metrics: Sequence[Metric]) -> list[Bound]:
    """Every bound of every constraint."""
    known = {metric.name: metric for metric in metrics}
    kinds: tuple[Literal["at_least", "at_most", "max_loss"], ...] = ("at_least", "at_most", "max_loss")
    found = []
    for constraint in constraints:
        goal: Literal["min", "max"] = "max" if constraint.at_least is not None else "min"
        plain = Metric(name=constraint.metric, label=constraint.metric.replace("_", " "), goal=goal)
        for kind in kinds:
            value = getattr(constraint, kind)
            if value is not None:
                found.append(Bound(known.get(constraint.metric, plain), kind, value))
    return found


class Victims:
    """The victims of a study, to find that of a trial: by its key, or in older files by what they have in common."""

    def __init__(self, results: Results) -> None:
        self._by_key = {record["key"]: record for record in _finished(results) if record.get("key")}
        self._victims = _by_seed(results, results.victims)
        # A victim that is itself a point of the study has no row of its own.
        self._undefended = _by_seed(results, results.trials[~results.is_defended])

    def of(self, point: Point, trial: Record) -> Record | None:
        """The model that a trial's defense started from, or None if it is not there."""
        seed = int(trial["seed"])
        if trial.get("victim_key"):
            return self._by_key.get(trial["victim_key"])
        fitting = [
            (sum(level is not None for level in own), record)
            for own, record in self._victims.get(seed, [])
            if all(level is None or level == other for level, other in zip(own, point, strict=True))
        ]
        if fitting:
            return max(fitting, key=lambda pair: pair[0])[1]
        undefended = self._undefended.get(seed, [])
        return undefended[0][1] if len(undefended) == 1 else None

    def mean(self, metric: str, point: Point, trials: Sequence[Record]) -> float:
        """Of the victims of a point's trials; NaN if one of them is missing."""
        found = [self.of(point, trial) for trial in trials]
        values = [math.nan if record is None else float(record.get(metric, math.nan)) for record in found]
        return math.nan if any(map(math.isnan, values)) else estimate(values).mean


def _finished(results: Results) -> list[Record]:
    return [*results.victims.to_dict("records"), *results.trials.to_dict("records")]


def _by_seed(results: Results, frame: Any) -> dict[int, list[tuple[Point, Record]]]:
    found: dict[int, list[tuple[Point, Record]]] = {}
    for point, record in zip(results.points_of(frame), frame.to_dict("records"), strict=True):
        found.setdefault(int(record["seed"]), []).append((point, record))
    return found
