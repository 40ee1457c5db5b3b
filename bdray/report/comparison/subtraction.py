"""The differences between two studies that may be taken."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bdray.report.comparison.places import UNDEFENDED, Place
from bdray.report.comparison.sides import Side
from bdray.report.significance import Contrast, holm, paired_test, welch_test
from bdray.report.study import Metric

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["paired", "unpaired", "same models"]
MAX_CROSSED = 100
"""Pairs of different defenses of two studies; more are a table that nobody reads, and no test survives in."""


@dataclass(frozen=True)
class Difference:
    """A study minus the first, in one metric."""

    side: int
    place: Place
    first: Place
    """Where the first study's models stand: the same place, or another defense of the same victims."""
    kind: Kind
    contrast: Contrast
    p_holm: float = math.nan


def subtract(sides: Sequence[Side], metric: Metric) -> tuple[Difference, ...]:
    """All differences from the first study, with p-values adjusted for their number.

    At the same place they are paired over the seeds whose victims are the same model, known by its key, or unpaired
    where there is none. Different defenses of one attack, neither of which both studies have, are paired or left out.
    """
    if metric.is_of_trigger:
        return ()
    found = [
        difference
        for index, side in enumerate(sides)
        if index and not side.refusal
        for difference in (*_at_same_places(sides[0], side, metric, index), *_crossed(sides[0], side, metric, index))
    ]
    p_values = holm([difference.contrast.p for difference in found])
    return tuple(replace(difference, p_holm=p) for difference, p in zip(found, p_values, strict=True))


def num_left_out(sides: Sequence[Side]) -> int:
    """Pairs of different defenses that are too many to show."""
    counts = [len(_pairs(sides[0], side)) for side in sides[1:] if not side.refusal]
    return sum(count for count in counts if count > MAX_CROSSED)


def _at_same_places(first: Side, side: Side, metric: Metric, index: int) -> Iterator[Difference]:
    for identity, (place, rows) in side.places.items():
        if identity in first.places:
            own, frame = first.places[identity]
            sets = _judged(frame, metric), _judged(rows, metric)
            if all(map(len, sets)):
                yield Difference(index, place, own, *_compared(*sets, metric))


def _crossed(first: Side, side: Side, metric: Metric, index: int) -> Iterator[Difference]:
    pairs = _pairs(first, side)
    for own, place in pairs if len(pairs) <= MAX_CROSSED else ():
        before, after = (_judged(study.places[at.identity][1], metric) for study, at in ((first, own), (side, place)))
        seeds = _same(before, after, "victim_key")
        if seeds:
            contrast = paired_test(_values(before, metric, seeds), _values(after, metric, seeds))
            yield Difference(index, place, own, "paired", contrast)


def _pairs(first: Side, side: Side) -> list[tuple[Place, Place]]:
    """Different defenses of one attack, each in one study only; none of a search, which chose its own by results."""
    if any(study.results.study.search for study in (first, side)):
        return []
    lone = [
        [place for identity, (place, _) in here.places.items() if identity not in there.places]
        for here, there in ((first, side), (side, first))
    ]
    return [
        (own, place)
        for place in lone[1]
        for own in lone[0]
        if own.identity[0] == place.identity[0] and UNDEFENDED not in (own.defense, place.defense)
    ]


def _compared(first: "pd.DataFrame", other: "pd.DataFrame", metric: Metric) -> tuple[Kind, Contrast]:
    """Of two sets of models at one place."""
    before, after = (_values(frame, metric, frame.index) for frame in (first, other))
    if set(_same(first, other, "key")) == set(before) == set(after):
        return "same models", replace(paired_test(before, after), p=math.nan)
    seeds = _same(first, other, "victim_key")
    if seeds:
        return "paired", paired_test(_values(first, metric, seeds), _values(other, metric, seeds))
    return "unpaired", welch_test(list(before.values()), list(after.values()))


def _judged(frame: "pd.DataFrame", metric: Metric) -> "pd.DataFrame":
    """The models that have the metric, by seed."""
    return frame[frame[metric.name].notna()].set_index("seed")


def _values(frame: "pd.DataFrame", metric: Metric, seeds: "Sequence[int] | pd.Index[int]") -> dict[int, float]:
    return {int(seed): float(value) for seed, value in zip(seeds, frame[metric.name].loc[list(seeds)], strict=True)}


def _same(first: "pd.DataFrame", other: "pd.DataFrame", column: str) -> list[int]:
    """Seeds that have the same key on both sides; none where a study does not say its keys."""
    if column not in first.columns or column not in other.columns:
        return []
    keys = dict(zip(first.index, first[column], strict=True)), dict(zip(other.index, other[column], strict=True))
    return [int(seed) for seed, key in keys[0].items() if key and keys[1].get(seed) == key]
