"""The tables of a scaling study's fits."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bdray.report.scaled_series import Series
from bdray.report.scaling import Candidate
from bdray.report.study import DASH, Metric, show_level

if TYPE_CHECKING:
    import pandas as pd

Table = dict[str, list[list[str]]]
"""Header and rows."""
NUMBERS_OF_METRIC = ("c", "start", "end")
"""Parameters that are values of the metric itself."""


def chosen_rows(series: Sequence[Series]) -> Table:
    """The chosen laws."""
    rows = []
    for one in series:
        chosen = one.scaled.chosen
        sizes = one.scaled.levels.sizes
        span = f"{show_level(sizes[0])} to {show_level(sizes[-1])} ({len(sizes)})" if sizes else DASH
        cells = [DASH, DASH, one.scaled.problem]
        if chosen is not None:
            cells = [chosen.law.name, show_error(one.metric, chosen), show_parameters(one, chosen)]
        rows.append([one.title, one.metric.label, f"{span} {one.size_label}", *cells])
    return {
        "header": [["series", "metric", "sizes", "chosen law", "held-out error", "parameters [95% interval]"]],
        "rows": rows,
    }


def tried_rows(series: Sequence[Series]) -> Table:
    """All laws that were tried."""
    rows = []
    for one in series:
        for candidate in one.scaled.candidates:
            is_chosen = candidate is one.scaled.chosen
            remark = "chosen" if is_chosen else candidate.problem
            if candidate.fit is not None and candidate.fit.is_at_limit:
                remark = "; ".join(filter(None, [remark, "the sizes do not tell its shape"]))
            error = show_error(one.metric, candidate) if candidate.errors else DASH
            parameters = show_parameters(one, candidate) if candidate.fit else DASH
            rows.append(
                [one.title, one.metric.label, candidate.law.name, candidate.law.formula, error, parameters, remark]
            )
    return {"header": [["series", "metric", "law", "formula", "held-out error", "parameters", ""]], "rows": rows}


def fits_frame(series: Sequence[Series]) -> "pd.DataFrame":
    """One row per series, law and parameter, with the numbers behind both tables; rates are fractions."""
    import pandas as pd

    records = []
    for one in series:
        for candidate in one.scaled.candidates:
            is_chosen = candidate is one.scaled.chosen
            for name, value in (candidate.fit.parameters if candidate.fit else {"": math.nan}).items():
                boot = one.scaled.bootstrap if is_chosen else None
                low, high = boot.interval(name) if boot else (math.nan, math.nan)
                records.append(
                    {
                        "source": one.source,
                        "series": one.name,
                        "metric": one.metric.name,
                        "size": one.size_label,
                        "num_sizes": len(one.scaled.levels),
                        "num_seeds": len(one.curves),
                        "law": candidate.law.name,
                        "chosen": is_chosen,
                        "held_out_error": candidate.error if candidate.errors else math.nan,
                        "held_out_standard_error": candidate.standard_error if candidate.errors else math.nan,
                        "parameter": name,
                        "value": value,
                        "low": low,
                        "high": high,
                        "remark": candidate.problem,
                    }
                )
    return pd.DataFrame(records)


def show_error(metric: Metric, candidate: Candidate) -> str:
    """``2.1 ± 0.6 points``."""
    return f"{metric.show(candidate.error)} ± {metric.show(candidate.standard_error)}{metric.step_unit}"


def show_parameters(one: Series, candidate: Candidate) -> str:
    """``m = 28 [26 to 31], s = 0.4 [0.35 to 0.46]``."""
    assert candidate.fit is not None
    boot = one.scaled.bootstrap if candidate is one.scaled.chosen else None
    parts = []
    for name, value in candidate.fit.parameters.items():
        text = _number(one.metric, name, value)
        if boot is not None:
            low, high = boot.interval(name)
            text += f" [{_number(one.metric, name, low)} to {_number(one.metric, name, high)}]"
        parts.append(f"{name} = {text}")
    return ", ".join(parts)


def _number(metric: Metric, name: str, value: float) -> str:
    """Values of the metric as it is printed, all others with three digits."""
    if name in NUMBERS_OF_METRIC:
        return metric.say_value(value)
    if abs(value) > 1e100:
        return "∞"
    return f"{float(f'{value:.3g}'):,.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.3g}"
