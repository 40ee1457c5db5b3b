"""Which points of a study reach the goals that it sets, and by how much the others miss them."""

import math

from bdray.report.results import Results
from bdray.report.statistics import estimate
from bdray.report.study import Metric, Point

Goals = dict[Metric, float]


def describe_goals(results: Results) -> list[str]:
    """Sentences on the points that have results, by their means over seeds; none where the study sets no goal."""
    study = results.study
    goals = {metric: study.goals[metric.name] for metric in study.metrics if metric.name in study.goals}
    gaps = {results.show(point) or "the model": _gaps(results, point, goals) for point in results.points()}
    judged = {name: found for name, found in gaps.items() if not any(math.isnan(gap) for gap in found.values())}
    if not goals or not judged:
        return []
    reached = [name for name, found in judged.items() if max(found.values()) <= 0]
    missed = [f"{name} misses {_misses(found)}" for name, found in judged.items() if name not in reached]
    it = "it" if len(goals) == 1 else "them"
    sentences = [
        ("The goal for the mean over seeds is " if len(goals) == 1 else "The goals for the means over seeds are ")
        + list_words(
            [f"{metric.label} of {_bound(metric)} {metric.say_value(goal)}" for metric, goal in goals.items()]
        ),
        f"{list_words(reached)} reach{'es' * (len(reached) == 1)} {it}" if reached else f"Nothing reaches {it}",
    ]
    return [f"{sentence}." for sentence in (*sentences, "; ".join(missed)) if sentence]


def list_words(words: list[str]) -> str:
    """``A``, ``A and B``, ``A, B and C``; words with commas of their own are set apart by semicolons."""
    if any("," in word for word in words):
        return "; ".join(words)
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _gaps(results: Results, point: Point, goals: Goals) -> dict[Metric, float]:
    """How far a point is from each goal, in the data's unit; negative beyond it, NaN without a result."""
    rows = results.at(results.trials, point)
    means = {metric: estimate(list(rows[metric.name])).mean for metric in goals}
    return {
        metric: goal - means[metric] if metric.goal == "max" else means[metric] - goal for metric, goal in goals.items()
    }


def _misses(gaps: dict[Metric, float]) -> str:
    parts = []
    for metric, gap in gaps.items():
        if gap > 0:
            least = 10.0**-metric.digits
            size = gap * metric.scale
            text = f"{size:.{metric.digits}f}" if size >= least else f"less than {least:.{metric.digits}f}"
            parts.append(f"{metric.label} by {text}{metric.step_unit}")
    return list_words(parts)


def _bound(metric: Metric) -> str:
    return "at least" if metric.goal == "max" else "at most"
