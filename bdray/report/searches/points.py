"""The points that a search tried, which of them keep its constraints, and which nothing beats."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bdray.report.results import NUMBER, Results
from bdray.report.searches.constraints import Bound, Record, Victims, bounds
from bdray.report.searches.front import front, growth
from bdray.report.statistics import Estimate, estimate
from bdray.report.study import Axis, Metric, Point

if TYPE_CHECKING:
    import pandas as pd

    from bdray.report.searches.importance import Importances


@dataclass(frozen=True)
class Tried:
    """A point with results."""

    number: int
    """Place in the order in which the search asked, counted by the search."""
    point: Point
    seeds: tuple[int, ...]
    """Seeds with a finished trial."""
    values: tuple[Estimate, ...]
    """One per objective, over these seeds."""
    excess: tuple[float, ...]
    """One per bound: by how much the point breaks it; NaN if that cannot be told."""

    @property
    def is_feasible(self) -> bool:
        """Whether it is known to keep every constraint."""
        return all(excess <= 0 for excess in self.excess)

    @property
    def is_judged(self) -> bool:
        """Whether it can be told for every constraint."""
        return not any(map(math.isnan, self.excess))


@dataclass(frozen=True)
class Searched:
    """All that a search tried so far."""

    axes: tuple[Axis, ...]
    """The knobs."""
    objectives: tuple[Metric, ...]
    bounds: tuple[Bound, ...]
    complete: tuple[Tried, ...]
    """Points with a value of every objective for every seed, in the search's order."""
    partial: tuple[Tried, ...]
    """Points that lack a seed, or a value; nothing is concluded from them."""
    pruned: dict[Point, int]
    """Number of each point of which a trial was stopped early."""
    victims: tuple[tuple[Estimate, ...], ...]
    """Objectives of each kind of victim."""

    @cached_property
    def feasible(self) -> tuple[Tried, ...]:
        """Complete points that keep every constraint."""
        return tuple(tried for tried in self.complete if tried.is_feasible)

    @cached_property
    def front(self) -> tuple[Tried, ...]:
        """Feasible points that no other feasible one beats, by the first objective's mean; the best if there is one."""
        found = [self.feasible[index] for index in front([self.losses(tried) for tried in self.feasible])]
        return tuple(sorted(found, key=lambda tried: (*self.losses(tried), tried.number)))

    @property
    def best(self) -> Tried | None:
        """The feasible point with the best first objective; of equals the one with the better second."""
        return self.front[0] if self.front else None

    @property
    def ordered(self) -> tuple[Tried, ...]:
        """The front, then other feasible points, then those that break a constraint, then those without all seeds."""
        others = [tried for tried in self.feasible if tried not in self.front]
        rest = [tried for tried in self.complete if not tried.is_feasible]
        ranked = (sorted(group, key=lambda tried: (*self.losses(tried), tried.number)) for group in (others, rest))
        return (*self.front, *(tried for group in ranked for tried in group), *self.partial)

    def losses(self, tried: Tried) -> tuple[float, ...]:
        """Means of the objectives, turned so that less is better."""
        return self._turned(tried.values)

    @cached_property
    def reference(self) -> tuple[float, ...]:
        """What hypervolume is measured from, less being better: the worst of the victims and of the feasible points."""
        known = [self.losses(tried) for tried in self.feasible]
        known += [self._turned(victim) for victim in self.victims]
        columns = [[value for value in column if not math.isnan(value)] for column in zip(*known, strict=True)]
        return tuple(max(column) if column else math.nan for column in columns)

    def hypervolumes(self) -> list[tuple[int, float]]:
        """After each complete point, by its number: the hypervolume so far.

        As a share of what a single point would have that is as good as the best in every objective. Empty where the
        points and victims agree in an objective, for then there is no volume.
        """
        losses = [self.losses(tried) for tried in self.feasible]
        if not losses:
            return []
        ideal = [min(column) for column in zip(*losses, strict=True)]
        whole = math.prod(worst - best for worst, best in zip(self.reference, ideal, strict=True))
        if whole <= 0:
            return []
        volumes = growth(losses, self.reference)
        by_number = dict(zip([tried.number for tried in self.feasible], volumes, strict=True))
        shares, last = [], 0.0
        for tried in self.complete:
            last = by_number.get(tried.number, last)
            shares.append((tried.number, last / whole))
        return shares

    @cached_property
    def importances(self) -> "tuple[Importances, ...]":
        """What decides whether a point is among the best, for each objective; none from a few points."""
        from bdray.report.searches.importance import importances  # which looks through what was tried

        return importances(self)

    def standing(self, tried: Tried) -> str:
        """In a word, for tables."""
        if tried in self.front:
            return "front" if len(self.objectives) > 1 else "best"
        if tried in self.partial:
            return "unfinished"
        if not self.bounds:
            return ""
        return "feasible" if tried.is_feasible else "infeasible" if tried.is_judged else "not judged"

    def _turned(self, values: Sequence[Estimate]) -> tuple[float, ...]:
        pairs = zip(self.objectives, values, strict=True)
        return tuple(value.mean if metric.goal == "min" else -value.mean for metric, value in pairs)


def searched(results: Results) -> Searched:
    """Look through the results of a search."""
    study = results.study
    limits = bounds(study.search.constraints if study.search else (), study.metrics)
    victims = Victims(results)
    pruned = _numbers(results, results.pruned)
    tried = [
        _tried(results, point, number, rows, limits, victims)
        for (point, number), rows in _rows(results, results.trials)
        if point not in pruned
    ]
    needed = len(study.seeds)
    is_complete = [min([value.n for value in found.values]) == len(found.seeds) >= needed for found in tried]
    return Searched(
        axes=tuple(study.axes),
        objectives=tuple(study.metrics),
        bounds=tuple(limits),
        complete=tuple(found for found, is_whole in zip(tried, is_complete, strict=True) if is_whole),
        partial=tuple(found for found, is_whole in zip(tried, is_complete, strict=True) if not is_whole),
        pruned=pruned,
        victims=tuple(
            tuple(
                estimate(list(results.at(results.victims, point)[metric.name]), study.interval)
                for metric in study.metrics
            )
            for point in results.victim_points()
        ),
    )


def _tried(
    results: Results, point: Point, number: int, rows: list[Record], limits: list[Bound], victims: Victims
) -> Tried:
    seeds = tuple(int(row["seed"]) for row in rows)

    def mean(metric: Metric) -> Estimate:
        return estimate([float(row.get(metric.name, math.nan)) for row in rows], results.study.interval)

    excess = [
        limit.excess(mean(limit.metric).mean, victims.mean(limit.metric.name, point, rows))
        if limit.kind == "max_loss"
        else limit.excess(mean(limit.metric).mean, math.nan)
        for limit in limits
    ]
    return Tried(number, point, seeds, tuple(mean(metric) for metric in results.study.metrics), tuple(excess))


def _rows(results: Results, frame: "pd.DataFrame") -> list[tuple[tuple[Point, int], list[Record]]]:
    """Rows by point, in the search's order; a file without numbers has that of its lines."""
    found: dict[Point, list[Record]] = {}
    for point, record in zip(results.points_of(frame), frame.to_dict("records"), strict=True):
        found.setdefault(point, []).append(record)
    rows = []
    for place, (point, records) in enumerate(found.items()):
        numbers = [record.get(NUMBER, math.nan) for record in records]
        known = [int(number) for number in numbers if not math.isnan(number)]
        rows.append(((point, min(known, default=place)), records))
    return sorted(rows, key=lambda pair: pair[0][1])


def _numbers(results: Results, frame: "pd.DataFrame") -> dict[Point, int]:
    return {point: number for (point, number), _ in _rows(results, frame)}
