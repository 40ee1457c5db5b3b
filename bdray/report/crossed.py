"""What a study of two axes found: which choice on the second axis is best for each on the first."""

from bdray.report.goals import list_words
from bdray.report.results import Results
from bdray.report.statistics import Estimate, estimate
from bdray.report.study import Level, Metric

Means = dict[Level, dict[Level, Estimate]]
"""By the first axis's value, then by the second's; only what has results."""


def describe_crossed(results: Results, metric: Metric) -> str:
    """The best choice in every row, and the mean of each choice over the rows that all of them have; else nothing.

    Choices that agree as printed share the first place. Two numbers are no choices.
    """
    if len(results.study.axes) != 2 or all(axis.is_numeric for axis in results.study.axes):
        return ""
    first, second = results.study.axes
    means = _means(results, metric)
    judged = {level: row for level, row in means.items() if len(row) > 1}
    if not judged:
        return ""
    best: dict[tuple[str, ...], list[str]] = {}
    for level, row in judged.items():
        means_of_row = [value.mean for value in row.values()]
        top = metric.show(min(means_of_row) if metric.goal == "min" else max(means_of_row))
        winners = tuple(second.show(choice) for choice, value in row.items() if metric.show(value.mean) == top)
        best.setdefault(winners, []).append(f"{first.show(level)} ({top}{'%' * metric.is_rate})")
    word = "lowest" if metric.goal == "min" else "highest"
    parts = [f"with {list_words(list(winners))} for {list_words(rows)}" for winners, rows in best.items()]
    sentence = f"Mean {metric.label} is {word} {'; '.join(parts)}."
    complete = [row for row in judged.values() if len(row) == len(second.levels)]
    if len(complete) < 2:
        return sentence
    averages = [
        f"{second.show(choice)} {metric.say_value(sum(row[choice].mean for row in complete) / len(complete))}"
        for choice in second.levels
    ]
    return f"{sentence} Averaged over {len(complete)} values of {first.label}: {', '.join(averages)}."


def _means(results: Results, metric: Metric) -> Means:
    found: Means = {}
    for point in results.points():
        level = estimate(list(results.at(results.trials, point)[metric.name]))
        row, choice = point
        if level.n and row is not None and choice is not None:
            found.setdefault(row, {})[choice] = level
    return found
