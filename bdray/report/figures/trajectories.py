"""A metric by epoch of all that a search tried: the front in color, the rest pale, what was stopped early crossed."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.report.figures.canvas import HEIGHT
from bdray.report.figures.colors import MEASURED_BAR, MUTED, VICTIM, ordered
from bdray.report.figures.labels import Label, label_ends
from bdray.report.figures.window import window
from bdray.report.results import Results
from bdray.report.statistics import estimate
from bdray.report.study import Metric, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line = tuple[list[float], list[float]]
"""Epochs and values as printed."""
MAX_LABELS = 10
MAX_OTHERS = 150
"""Lines beyond the front; more would only hide each other."""


@dataclass(frozen=True)
class Trajectories:
    """Means over seeds on the validation split; a line ends where the first of its seeds does, or leaves the panel."""

    results: Results
    metric: Metric
    height: float = HEIGHT
    group: str = ""

    def lines(self) -> dict[Point, Line]:
        """Line by point; empty if the metric was not recorded by epoch."""
        history = self.results.history
        if self.metric.name not in history.columns:
            return {}
        rows = history[(history["role"] == "trial") & history[self.metric.name].notna()]
        columns = zip(self.results.points_of(rows), rows["seed"], rows["epoch"], rows[self.metric.name], strict=True)
        found: dict[Point, dict[int, dict[float, float]]] = {}
        for point, seed, epoch, value in columns:
            found.setdefault(point, {}).setdefault(int(seed), {})[float(epoch)] = float(value) * self.metric.scale
        return {point: _mean(list(seeds.values())) for point, seeds in found.items()}

    def draw(self, axes: "Axes") -> None:
        lines, found = self.lines(), self.results.searched
        assert found is not None  # only searches have trajectories
        front = [tried for tried in found.front if tried.point in lines]
        colored = {tried.point for tried in front}
        others = [point for point in lines if point not in colored and point not in found.pruned][:MAX_OTHERS]
        stopped = [point for point in found.pruned if point in lines][:MAX_OTHERS]
        for point in others:
            axes.plot(*lines[point], color=MEASURED_BAR[0], lw=0.9, zorder=2)
        for index, point in enumerate(stopped):
            epochs, values = lines[point]
            axes.plot(epochs, values, color=MUTED[0], lw=0.9, ls=(0, (3, 2)), zorder=3)
            label = "stopped early" if index == 0 else None
            axes.plot(epochs[-1:], values[-1:], ls="none", marker="x", ms=5, color=MUTED[0], zorder=3, label=label)
        labels = []
        for tried, color in zip(front, ordered(len(front)), strict=True):
            epochs, values = lines[tried.point]
            axes.plot(epochs, values, color=color, lw=1.9, marker="o", ms=3.4, mec="none", zorder=4)
            labels.append(Label(f"#{tried.number}", color, values[-1]))
        labels = labels if len(labels) <= MAX_LABELS else []
        values = [value for _, line in lines.values() for value in line]
        kept = [value for tried in front for value in lines[tried.point][1]]
        axes.set_ylim(*window(self.metric, values, kept, []))
        self._finish(axes, [*labels, *self._victims(axes)], max(epochs[-1] for epochs, _ in lines.values()))

    def _finish(self, axes: "Axes", labels: list[Label], last: float) -> None:
        from matplotlib.ticker import MaxNLocator

        axes.set_xlim(0.85, last + 0.15)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        axes.set_xlabel(self.results.epoch_label, fontsize=9, labelpad=2)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8, loc="best", handletextpad=0.2)
        label_ends(axes, labels)

    def _victims(self, axes: "Axes") -> list[Label]:
        """The level that the defenses start from, judged on the same split, if it is the same for all."""
        history = self.results.history
        rows = history[history["role"] == "victim"].sort_values("epoch").groupby("seed").tail(1)
        level = estimate(list(rows[self.metric.name])).mean * self.metric.scale
        if math.isnan(level) or len(self.results.victim_points()) != 1:
            return []
        low, high = axes.get_ylim()
        if not low < level < high:
            return []
        axes.axhline(level, color=VICTIM[0], lw=1.2, ls=(0, (1, 2)), zorder=1)
        return [Label("victim", VICTIM[0], level)]


def _mean(seeds: list[dict[float, float]]) -> Line:
    """Over the epochs that all seeds have."""
    epochs = sorted(set.intersection(*map(set, seeds)))
    return epochs, [math.fsum(seed[epoch] for seed in seeds) / len(seeds) for epoch in epochs]
