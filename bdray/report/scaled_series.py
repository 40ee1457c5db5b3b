"""The series of a scaling study: its own trials and victims over their sizes, and the published ones over theirs."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bdray.report.published_curves import published_curves
from bdray.report.results import Results
from bdray.report.scaling import Curves, Scaled, Scaling, scale
from bdray.report.study import Metric

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["trial", "victim", "published"]
MEASURED = "Measured"
UNDEFENDED = "victim, no defense"
MAX_METRICS = 2
"""Of a study: the attack and its price, as in its figures."""


@dataclass(frozen=True)
class Series:
    """One metric over sizes, and the law that it follows."""

    kind: Kind
    name: str
    """For people: ``defended``; ``BadNet, CleanCLIP``."""
    source: str
    """``Measured``, or the paper's table."""
    size_label: str
    """What the sizes count."""
    metric: Metric
    curves: Curves
    scaled: Scaled
    extrapolate_to: tuple[float, ...] = ()

    @property
    def group(self) -> str:
        """What shares a panel: sizes of one kind."""
        return self.source if self.kind != "published" else f"{self.source}, published"

    @property
    def title(self) -> str:
        """For a table: ``defended``; ``CleanCLIP Table 5: BadNet, No defense``."""
        return self.name if self.kind != "published" else f"{self.source}: {self.name}"


def scaled_series(results: Results) -> list[Series]:
    """All series of a study by metric, its own first; none if it is no scaling study, or nothing has finished."""
    study = results.study
    if study.scaling is None or len(study.axes) != 1 or results.trials.empty:
        return []
    found: list[Series] = []
    for metric in study.metrics[:MAX_METRICS]:
        found += [*_measured(results, metric, study.scaling), *_published(results, metric)]
    return found


def _measured(results: Results, metric: Metric, scaling: Scaling) -> list[Series]:
    trials: tuple[Kind, str] = ("trial", "defended" if results.has_defense else UNDEFENDED)
    frames = {trials: results.trials, ("victim", UNDEFENDED): results.victims}
    series = {who: _curves(results, frame, metric) for who, frame in frames.items()}
    return [
        Series(
            kind=kind,
            name=name,
            source=MEASURED,
            size_label=results.study.axes[0].label,
            metric=metric,
            curves=curves,
            scaled=scale(curves, is_rate=metric.is_rate),
            extrapolate_to=scaling.extrapolate_to,
        )
        for (kind, name), curves in series.items()
        if curves
    ]


def _curves(results: Results, frame: "pd.DataFrame", metric: Metric) -> Curves:
    """By seed and size; rows without a size, as victims on an axis of the defense have none, are left out."""
    axis = results.study.axes[0]
    curves: dict[int, dict[float, float]] = {}
    for seed, level, value in zip(frame["seed"], frame[axis.field], frame[metric.name], strict=True):
        size = axis.size(level) if level is not None else None
        if size is not None and not math.isnan(size) and not math.isnan(value):
            curves.setdefault(int(seed), {})[size] = float(value)
    return curves


def _published(results: Results, metric: Metric) -> list[Series]:
    return [
        Series(
            kind="published",
            name=f"{curve.attack}, {curve.defense}",
            source=curve.pick.source,
            size_label=curve.size_label,
            metric=metric,
            curves={0: curve.values},
            scaled=scale({0: curve.values}, is_rate=metric.is_rate),
        )
        for curve in published_curves(results.study.published)
        if curve.metric == metric.name
    ]
