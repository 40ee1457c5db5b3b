"""The tables of a comparison: values side by side, and what may be subtracted."""

import math
from typing import TYPE_CHECKING

from bdray.report import latex
from bdray.report.comparison.comparison import Comparison
from bdray.report.comparison.places import Place
from bdray.report.comparison.subtraction import Difference
from bdray.report.differences import judge, show_p
from bdray.report.intervals import few_seeds_note
from bdray.report.statistics import Estimate
from bdray.report.study import DASH, Metric

if TYPE_CHECKING:
    import pandas as pd

KEYS = ["attack", "defense", "point"]
DIFFERENCE_KEYS = ["attack", "defense", "minus"]
DIFFERENCE_HEADER = [*DIFFERENCE_KEYS, "difference", "95% interval", "seeds", "p", "p (Holm)", "verdict", "how"]


def keys_of(comparison: Comparison) -> list[str]:
    """Names of the columns that name a place; without points where there is nothing but attacks and defenses."""
    has_points = any(line.place.rest for lines in comparison.lines.values() for line in lines)
    return KEYS if has_points else KEYS[:2]


def value_header(comparison: Comparison) -> list[str]:
    """Names of the columns of values."""
    return [*keys_of(comparison), *(side.name for side in comparison.sides)]


def value_lines(comparison: Comparison, metric: Metric) -> list[list[str]]:
    """Mean, interval and number of seeds of each study, place by place."""
    count = len(keys_of(comparison))
    return [
        [*_keys(line.place)[:count], *(_value(metric, value) for value in line.values)]
        for line in comparison.lines[metric.name]
    ]


def difference_lines(comparison: Comparison, metric: Metric) -> list[list[str]]:
    """The studies minus the first, place by place, as far as they may be subtracted and are not of the same models."""
    first = comparison.sides[0].name
    return [
        [
            found.place.attack,
            f"{found.place.short_name} ({comparison.sides[found.side].name})",
            f"{found.first.short_name} ({first})",
            *_difference(metric, found),
        ]
        for found in comparison.differences[metric.name]
        if found.kind != "same models"
    ]


def caption(comparison: Comparison, metric: Metric) -> str:
    """What a metric's tables hold, and what they do not know."""
    parts = ["Mean over seeds, its 95% interval and the number of seeds."]
    found = comparison.differences[metric.name]
    if not found:
        return parts[0]
    kinds = {difference.kind for difference in found}
    if "paired" in kinds:
        parts.append("Paired: by seed, over the same victims, known by their keys in the store.")
    if same := sum(difference.kind == "same models" for difference in found):
        parts.append(f"{same} places have the very same models in both studies, so that there is nothing to subtract.")
    if "unpaired" in kinds:
        parts.append("Unpaired: no victim is known to be shared, so Welch's interval of two independent samples.")
    if comparison.num_tests(metric) > 1:
        parts.append(f"p (Holm) allows for {comparison.num_tests(metric)} comparisons.")
    if comparison.num_left_out:
        parts.append(f"{comparison.num_left_out} pairs of different defenses are left out, being too many.")
    return " ".join(filter(None, [*parts, few_seeds_note([found.contrast.difference.n for found in found])]))


def to_latex(comparison: Comparison) -> str:
    """Two tables for each metric: values, and differences where there are any."""
    tables = []
    for metric in comparison.metrics:
        title = f"{metric.heading}. {caption(comparison, metric)}"
        tables.append(
            latex.table(title, value_header(comparison), value_lines(comparison, metric), keys=len(keys_of(comparison)))
        )
        if lines := difference_lines(comparison, metric):
            title = f"Differences of {metric.label} from {comparison.sides[0].name}. {caption(comparison, metric)}"
            tables.append(latex.table(title, DIFFERENCE_HEADER, lines, keys=len(DIFFERENCE_KEYS)))
    return "\n".join(tables)


def to_frame(comparison: Comparison) -> "pd.DataFrame":
    """All numbers of the comparison in the data's units: values first, then differences."""
    import pandas as pd

    values = [
        {
            "kind": "value",
            **_identity(comparison, metric, line.place, side),
            **_numbers(value),
            "how": f"not subtracted: {comparison.sides[side].refusal}" if comparison.sides[side].refusal else "",
        }
        for metric in comparison.metrics
        for line in comparison.lines[metric.name]
        for side, value in enumerate(line.values)
        if value.n
    ]
    differences = [
        {
            "kind": "difference",
            **_identity(comparison, metric, found.place, found.side),
            "minus_study": comparison.sides[0].name,
            "minus_place": found.first.name,
            **_numbers(found.contrast.difference),
            "p": found.contrast.p,
            "p_holm": found.p_holm,
            "num_tests": comparison.num_tests(metric),
            "effect": found.contrast.effect,
            "how": found.kind,
        }
        for metric in comparison.metrics
        for found in comparison.differences[metric.name]
    ]
    return pd.DataFrame([*values, *differences])


def _identity(comparison: Comparison, metric: Metric, place: Place, side: int) -> dict[str, str]:
    study = comparison.sides[side].results.study
    keys = dict(zip(KEYS, _keys(place), strict=True))
    names = {"study": comparison.sides[side].name, "study_id": study.id, "split": study.split}
    return {"metric": metric.name, **keys, **names}


def _numbers(found: Estimate) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}


def _keys(place: Place) -> list[str]:
    return [place.attack, place.defense, ", ".join(place.rest)]


def _value(metric: Metric, value: Estimate) -> str:
    """``22.9 ± 4.1 (3)``; a single seed says so."""
    if not value.n:
        return DASH
    return f"{metric.show_estimate(value)} ({'single seed' if value.n == 1 else value.n})"


def _difference(metric: Metric, found: Difference) -> list[str]:
    own = found.contrast.difference
    has_interval = not math.isnan(own.half_width)
    return [
        metric.show_step(own.mean),
        f"{metric.show_step(own.low)} to {metric.show_step(own.high)}" if has_interval else DASH,
        str(own.n),
        show_p(found.contrast.p),
        show_p(found.p_holm),
        judge(found.contrast, found.p_holm),
        found.kind,
    ]
