"""A metric by epoch of the trials' last stage, one line per point, on the validation split."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.report.figures.canvas import HEIGHT, limit_rate
from bdray.report.figures.colors import VICTIM, ordered
from bdray.report.figures.labels import Label, label_ends
from bdray.report.results import Results
from bdray.report.statistics import estimate
from bdray.report.study import Level, Metric, Point
from bdray.report.tables import TRIAL_LABEL

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Line = tuple[list[float], list[float]]
"""Epochs and values as printed."""
MAX_LINES = 24
"""Points whose lines can be told apart; of more, evenly many are drawn."""


@dataclass(frozen=True)
class Learning:
    """Means over seeds; a line ends where the first of its seeds does."""

    results: Results
    metric: Metric
    height: float = HEIGHT
    level: Level | None = None
    """Of the first axis, where only its lines are drawn; None: all lines."""

    @property
    def group(self) -> str:
        return "" if self.level is None else self.results.study.axes[0].show(self.level)

    def lines(self) -> dict[str, Line]:
        """Line by name of the point; empty if the metric was not recorded by epoch."""
        history = self.results.history
        if self.metric.name not in history.columns:
            return {}
        trials = history[history["role"] == "trial"]
        known = self._points
        shown = known[:: math.ceil(len(known) / MAX_LINES)] if known else []
        points = {self._name(point): self.results.at(trials, point) for point in shown}
        lines = {name or TRIAL_LABEL[self.results.has_defense]: self._line(rows) for name, rows in points.items()}
        return {name: line for name, line in lines.items() if line[0]}

    def draw(self, axes: "Axes") -> None:
        lines = self.lines()
        labels = []
        for (name, (epochs, values)), color in zip(lines.items(), ordered(len(lines)), strict=True):
            axes.plot(epochs, values, color=color, lw=1.9, marker="o", ms=3.6, mec="none", solid_capstyle="round")
            labels.append(Label(name, color, values[-1]))
        labels += self._victims(axes)
        if self.metric.is_rate:
            limit_rate(axes)
        epochs = sorted({epoch for line in lines.values() for epoch in line[0]})
        axes.set_xlim(epochs[0] - 0.15, epochs[-1] + 0.15)
        if len(epochs) <= 12:
            axes.set_xticks(epochs, [f"{epoch:g}" for epoch in epochs])
        left_out = f"; {len(lines)} of {len(self._points)} points" if len(self._points) > MAX_LINES else ""
        axes.set_xlabel(f"{self.results.epoch_label}{left_out}", fontsize=9, labelpad=2)
        label_ends(axes, labels)

    @property
    def _points(self) -> list[Point]:
        return [point for point in self.results.points() if self.level in (None, point[0])]

    def _name(self, point: Point) -> str:
        return self.results.show(point if self.level is None else (None, *point[1:]))

    def _line(self, rows: "pd.DataFrame") -> Line:
        rows = rows[rows[self.metric.name].notna()]
        seeds = rows.groupby("epoch")["seed"].nunique()
        epochs = [float(epoch) for epoch, count in zip(seeds.index, seeds, strict=True) if count == seeds.max()]
        means = [estimate(list(rows[rows["epoch"] == epoch][self.metric.name])).mean for epoch in epochs]
        return epochs, [mean * self.metric.scale for mean in means]

    def _victims(self, axes: "Axes") -> list[Label]:
        """The level that the defenses start from: the victims' last epoch, judged on the same split."""
        history = self.results.history
        rows = history[history["role"] == "victim"]
        points = [point for point in self.results.victim_points() if self.level is None or point[0] == self.level]
        if len(points) != 1:
            return []
        rows = self.results.at(rows, points[0]).sort_values("epoch").groupby("seed").tail(1)
        level = estimate(list(rows[self.metric.name])).mean * self.metric.scale
        if math.isnan(level):
            return []
        axes.axhline(level, color=VICTIM[0], lw=1.2, ls=(0, (1, 2)), zorder=1)
        return [Label("victim", VICTIM[0], level)]
