"""A metric over named choices, such as defenses or attacks, or over several axes at once."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.report.figures.colors import INK, MEASURED, MEASURED_BAR, PUBLISHED, VICTIM, VICTIM_BAR
from bdray.report.results import Results
from bdray.report.statistics import estimate
from bdray.report.study import Metric, Point
from bdray.report.tables import TRIAL_LABEL, VICTIM_LABEL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.46
"""Height of one bar with its name above it, in inches."""


@dataclass(frozen=True)
class Bars:
    """One horizontal bar per point with its interval, every seed, and the published value; victims stand on top."""

    results: Results
    metric: Metric
    group: str = ""

    @property
    def height(self) -> float:
        return 1.3 + ROW * (len(self.results.points()) + len(self.results.victim_points()))

    def draw(self, axes: "Axes") -> None:
        points: list[tuple[Point, bool]] = [(point, True) for point in self.results.victim_points()]
        points += [(point, False) for point in self.results.points()]
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        for row, (point, is_victim) in enumerate(points):
            self._bar(axes, row, point, is_victim=is_victim)
        axes.set_ylim(len(points) - 0.45, -0.75)
        axes.set_yticks([])
        if any(point.metric == self.metric.name for point in self.results.published):
            axes.set_xlabel("◇ published", color=PUBLISHED[0], fontsize=8.5, loc="left", labelpad=2)
        if self.metric.is_rate:
            axes.set_xlim(0, 100)

    def _bar(self, axes: "Axes", row: int, point: Point, *, is_victim: bool) -> None:
        models = self.results.at(self.results.victims if is_victim else self.results.trials, point)
        values = [value * self.metric.scale for value in models[self.metric.name] if not math.isnan(value)]
        result = estimate(values, self.results.study.interval)
        color = VICTIM[0] if is_victim else MEASURED[0]
        name = self.results.show(point) or ("" if is_victim else TRIAL_LABEL[self.results.has_defense])
        name = ", ".join(filter(None, [VICTIM_LABEL if is_victim else "", name]))
        axes.text(0, row - 0.3, name, fontsize=8.5, color=INK[0], va="center")
        text = self.metric.show_estimate(estimate(list(models[self.metric.name]), self.results.study.interval))
        text += " (single seed)" if result.n == 1 else ""
        axes.annotate(
            text, (1, row + 0.08), xytext=(8, 0), xycoords=axes.get_yaxis_transform(),
            textcoords="offset points", fontsize=8.5, color=color, va="center", annotation_clip=False,
        )  # fmt: skip
        if result.n == 0:
            return
        axes.barh(row + 0.08, result.mean, height=0.34, color=VICTIM_BAR[0] if is_victim else MEASURED_BAR[0], lw=0)
        if result.n > 1:
            limit = 100.0 if self.metric.is_rate else math.inf
            axes.hlines(row + 0.08, max(result.low, 0.0), min(result.high, limit), color=color, lw=1.6)
        axes.plot(values, [row + 0.08] * len(values), "o", ms=3.4, color=color, mec="none", clip_on=False, zorder=4)
        printed = self.results.published_at(point, self.metric.name, is_victim=is_victim)
        if printed:
            x = printed.value * self.metric.scale
            axes.plot(x, row + 0.08, "D", ms=6, mfc="none", mec=PUBLISHED[0], mew=1.4, clip_on=False, zorder=5)
