"""What a study found, in plain sentences computed from its numbers, whichever way they fall."""

import math
from collections.abc import Sequence
from itertools import pairwise

from bdray.cli import count
from bdray.report.clean_base import describe_clean_base
from bdray.report.crossed import describe_crossed
from bdray.report.differences import differences
from bdray.report.figures.heat_map import is_heat_map
from bdray.report.goals import describe_goals, list_words
from bdray.report.results import Results
from bdray.report.searches.finding import describe_search
from bdray.report.statistics import Estimate, estimate, paired_difference, trend
from bdray.report.study import Failure, Level, Metric

Curves = dict[int, dict[float, float]]
"""A metric as printed, by seed and axis value."""


def describe(results: Results) -> list[str]:
    """Short paragraphs: where the victims stand, how points differ and metrics move, which points reach the goals."""
    if results.trials.empty:
        return [_nothing(results.study.failures)]
    if results.searched is not None:
        return describe_search(results, results.searched)
    paragraphs = [[_progress(results), _victims(results), describe_clean_base(results)]]
    compare = _ranking if _is_ranked(results) else _comparison
    several = {table.metric.name: table.summary() for table in differences(results)}
    paragraphs += [
        [
            compare(results, metric),
            _trend(results, metric),
            describe_crossed(results, metric),
            several.get(metric.name, ""),
        ]
        for metric in results.study.metrics[:2]
    ]
    paragraphs += [describe_goals(results), [_caution(results)]]
    return [" ".join(filter(None, sentences)) for sentences in paragraphs if any(sentences)]


def _nothing(failures: Sequence[Failure]) -> str:
    if not failures:
        return "No trial has finished yet, so there is nothing to conclude."
    first, *others = failures
    more = f"; so did {count(len(others), 'more stage')}, which the report lists" if others else ""
    return (
        f"No trial has finished, so there is nothing to conclude: {first.trial} failed ({first.reason.rstrip('.')})"
        f"{more}. Where the reason does not say what to do, `errors.log` beside the report has the traceback; the same "
        "command tries again."
    )


def _progress(results: Results) -> str:
    done, planned = len(results.trials), results.study.planned_trials
    return f"This is a half-finished study: {done} of {planned} trials are done." if done < planned else ""


def _victims(results: Results) -> str:
    if len(results.victim_points()) != 1:
        return ""
    levels = [
        (metric, estimate(list(results.victims[metric.name]), results.study.interval))
        for metric in results.study.metrics[:2]
    ]
    values = [f"{metric.label} {metric.say(level)}" for metric, level in levels]
    return f"Without a defense the victim stands at {list_words(values)}."


def _is_ranked(results: Results) -> bool:
    """Whether the study has several names, or pairs of numbers, to choose from: none is the first or the last."""
    study = results.study
    if is_heat_map(results):
        return True
    return len(study.axes) == 1 and not study.axes[0].is_numeric and len(results.points()) > 2 and not study.compare


def _ranking(results: Results, metric: Metric) -> str:
    """The best and the worst of several names; those that agree as printed share their place."""
    interval, rows = results.study.interval, {point: results.at(results.trials, point) for point in results.points()}
    found = {point: estimate(list(models[metric.name]), interval) for point, models in rows.items()}
    present = {point: level for point, level in found.items() if level.n}
    if len(present) < 2:
        return ""
    order = sorted(present.values(), key=lambda level: level.mean)
    places = []
    for end in (order[-1], order[0]):
        tied = [point for point, level in present.items() if metric.show(level.mean) == metric.show(end.mean)]
        value = metric.say(end) if len(tied) == 1 else metric.say_value(end.mean)
        places.append((len(tied), f"{list_words([results.show(point) for point in tied])} ({value})"))
    (count, highest), (_, lowest) = places
    if count == len(present):
        return f"{metric.label} is {metric.say_value(order[-1].mean)} for all of them."
    return f"{metric.label} is highest for {highest} and lowest for {lowest}."


def _comparison(results: Results, metric: Metric) -> str:
    """The two values of ``compare``, paired by seed."""
    study = results.study
    if len(study.axes) != 1 or len(study.axes[0].values) < 2:
        return ""
    axis = study.axes[0]
    values = study.compare if len(study.compare) == 2 else [axis.values[0], axis.values[-1]]
    first, second = (axis.level(value) for value in values)
    before, after = _by_seed(results, metric, first), _by_seed(results, metric, second)
    difference = paired_difference(before, after, study.interval)
    if difference.n == 0:
        return f"{metric.label} cannot be compared between {results.show((first,))} and {results.show((second,))} yet."
    sentence = (
        f"{metric.label} is {metric.say(estimate(list(before.values()), study.interval))} at {results.show((first,))} "
        f"and {metric.say(estimate(list(after.values()), study.interval))} at {results.show((second,))}"
    )
    common = "the " if len(before) == len(after) == difference.n else "the common "
    return f"{sentence}: {_difference(metric, difference, common)}."


def _difference(metric: Metric, difference: Estimate, common: str) -> str:
    text = f"a difference of {metric.show_step(difference.mean)}{metric.step_unit}"
    if difference.n == 1:
        return f"{text} on a single seed, so without an interval"
    verdict = (
        "which excludes zero" if difference.excludes_zero else "which includes zero, so these seeds do not settle it"
    )
    interval = f"{metric.show_step(difference.low)} to {metric.show_step(difference.high)}"
    return f"{text} (paired over {common}{difference.n} seeds, 95% interval {interval}, {verdict})"


def _trend(results: Results, metric: Metric) -> str:
    axis = results.axis
    if axis is None:
        return ""
    curves: Curves = {}
    for seed, level, value in zip(*(results.trials[name] for name in ("seed", axis.field, metric.name)), strict=True):
        if not math.isnan(value):
            curves.setdefault(int(seed), {})[float(level)] = value * metric.scale
    found = trend(curves)
    if math.isnan(found.of_means):
        return ""
    levels = sorted({level for curve in curves.values() for level in curve})
    means = [estimate([curve[level] for curve in curves.values() if level in curve]).mean for level in levels]
    subject = "its mean" if len(curves) > 1 else "it"
    sentence = f"Over the {len(levels)} values of {axis.label} {subject} {_shape(results, metric, levels, means)}"
    sentence += f" (Spearman's ρ = {_minus(f'{found.of_means:.2f}')}"
    if found.spread and len(found.by_seed) > 1:
        low, high = (_minus(f"{rho:.2f}") for rho in found.spread)
        sentence += f"; {low} in every seed" if low == high else f"; {low} to {high} across seeds"
    return sentence + ")."


def _shape(results: Results, metric: Metric, levels: list[float], means: list[float]) -> str:
    """Whether a curve is monotone and, where it is not, its largest step against the overall direction.

    What is too small to be shown is a level step.
    """
    steps = [round(after - before, metric.digits) for before, after in pairwise(means)]
    if not any(steps):
        return "stays level"
    if all(step < 0 for step in steps):
        return "falls at every step"
    if all(step > 0 for step in steps):
        return "rises at every step"
    overall = round(means[-1] - means[0], metric.digits)
    if not overall:
        far = max(range(len(means)), key=lambda index: abs(means[index] - means[0]))
        away = f"{abs(means[far] - means[0]):.{metric.digits}f}{metric.step_unit}"
        side = "above" if means[far] > means[0] else "below"
        return f"ends where it began; in between it is up to {away} {side} that, at {results.show((levels[far],))}"
    against = [-step if overall > 0 else step for step in steps]
    worst = max(range(len(steps)), key=lambda index: against[index])
    direction, exception = ("rises", "falls") if overall > 0 else ("falls", "rises")
    where = f"from {results.show((levels[worst],))} to {results.show((levels[worst + 1],))}"
    if against[worst] <= 0:
        return f"{direction}, with a level step {where}" if steps.count(0) == 1 else f"{direction}, with level steps"
    size = f"{abs(steps[worst]):.{metric.digits}f}{metric.step_unit}"
    return f"{direction} overall but not at every step; it {exception} by {size} {where}"


def _caution(results: Results) -> str:
    if results.trials["seed"].nunique() == 1:
        return "All of this rests on a single seed: it shows that the study runs, not how its numbers vary."
    counts = [len(results.at(results.trials, point)) for point in results.points()]
    if single := sum(count == 1 for count in counts):
        points = f"{single} of {len(counts)} points rest{'s' * (single == 1)} on a single seed"
        return f"{points}, which does not show how {'its' if single == 1 else 'their'} numbers vary."
    return ""


def _by_seed(results: Results, metric: Metric, level: Level) -> dict[int, float]:
    rows = results.at(results.trials, (level,))
    pairs = zip(rows["seed"], rows[metric.name], strict=True)
    return {int(seed): float(value) for seed, value in pairs if not math.isnan(value)}


def _minus(number: str) -> str:
    return number.replace("-", "−")
