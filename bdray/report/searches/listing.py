"""The points of a search in print."""

import math
from collections.abc import Sequence

from bdray.report.searches.points import Searched, Tried
from bdray.report.study import DASH


def front_table(found: Searched) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the front: number, knobs, objectives."""
    header = ["trial", *(axis.label for axis in found.axes), *(metric.heading for metric in found.objectives)]
    return header, [
        [
            str(tried.number),
            *(DASH if level is None else axis.show(level) for axis, level in zip(found.axes, tried.point, strict=True)),
            *(metric.show_estimate(value) for metric, value in zip(found.objectives, tried.values, strict=True)),
        ]
        for tried in found.front
    ]


def name(found: Searched, tried: Tried) -> str:
    """``trial 12 (λ₂ = 3.41, schedule = cosine)``; knobs that do not apply are left out."""
    knobs = [
        f"{axis.label} = {axis.show(level)}"
        for axis, level in zip(found.axes, tried.point, strict=True)
        if level is not None
    ]
    return f"trial {tried.number} ({', '.join(knobs)})" if knobs else f"trial {tried.number}"


def values(found: Searched, tried: Tried) -> str:
    """``ASR 3.1%, CA 85.2%``."""
    pairs = zip(found.objectives, tried.values, strict=True)
    return ", ".join(f"{metric.label} {metric.say(value)}" for metric, value in pairs)


def reference(found: Searched) -> str:
    """What hypervolume is measured from: ``ASR 98.5%, CA 81.0%``; empty if there is nothing."""
    signed = zip(found.objectives, found.reference, strict=False)
    parts = [(metric, value if metric.goal == "min" else -value) for metric, value in signed]
    return ", ".join(f"{metric.label} {metric.say_value(value)}" for metric, value in parts if not math.isnan(value))


def left_out(found: Searched) -> list[str]:
    """Sentences on what no figure shows: points stopped early, not judged, or without all of their seeds."""
    sentences = []
    if found.pruned:
        count = len(found.pruned)
        sentences.append(f"{_points(count)} stopped early {'is' if count == 1 else 'are'} not shown.")
    unjudged = sum(not tried.is_judged for tried in found.complete)
    if unjudged:
        sentences.append(f"For {_points(unjudged)} a constraint cannot be judged, for its victim or value is missing.")
    if found.partial:
        count = len(found.partial)
        sentences.append(
            f"{_points(count)} {'lacks' if count == 1 else 'lack'} a seed or a value, so nothing is concluded from "
            f"{'it' if count == 1 else 'them'}."
        )
    return sentences


def missing(found: Searched, seeds: Sequence[int], planned_points: int | None) -> list[str]:
    """What a half-finished search lacks: seeds of points that it has begun, and how many it has not."""
    lacking = [
        f"trial {tried.number}, seed {seed}" for tried in found.partial for seed in seeds if seed not in tried.seeds
    ]
    left = (planned_points or 0) - len(found.complete) - len(found.partial) - len(found.pruned)
    return [*lacking, *([f"{left} of {planned_points} points"] if left > 0 else [])]


def _points(count: int) -> str:
    return f"{count} point" if count == 1 else f"{count} points"
