"""A metric over two numeric axes: a cell for each pair of values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.report.figures.colors import INK, MUTED
from bdray.report.results import Results
from bdray.report.statistics import Estimate, estimate
from bdray.report.study import Axis, Level, Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cell = tuple[Level, Level]
"""Values of the first axis, across, and of the second, upwards."""
COLORS = "cividis"
"""From dark to light as values rise: even steps for the eye, for the color-blind, and in gray."""
MIN_SPAN = 0.01
"""Of the colors, as data: differences of less than a point of a rate are not made to look large."""
STEPS = 32
ROW = 0.52
"""Height of a row of cells in inches."""
MAX_COLUMNS_WITH_INTERVALS = 7
BRIGHT = 0.5
"""Luminance of a cell from which its text is dark."""


@dataclass(frozen=True)
class HeatMap:
    """Means over seeds with their intervals; what has no result is hatched, the best is outlined."""

    results: Results
    metric: Metric
    group: str = ""

    @property
    def height(self) -> float:
        return 1.16 + max(ROW * len(self.levels(1)), 1.6)

    def levels(self, side: int) -> list[Level]:
        """Values of an axis in their order, those of unplanned points among them."""
        found = {point[side] for point in self.results.points()}
        return sorted((level for level in found if level is not None), key=float)

    def cells(self) -> dict[Cell, Estimate]:
        """What has a result."""
        study, trials = self.results.study, self.results.trials
        estimates = {
            (first, second): estimate(list(self.results.at(trials, point)[self.metric.name]), study.interval)
            for point in self.results.points()
            for first, second in [point]
            if first is not None and second is not None
        }
        return {cell: found for cell, found in estimates.items() if found.n}

    def best(self) -> list[Cell]:
        """Best means, of those that reach the study's goals for its other metrics; equal as printed means equal."""
        cells = {cell: found.mean for cell, found in self.cells().items() if self._reaches_other_goals(cell)}
        if len(cells) < 2:
            return []
        top = self.metric.show(min(cells.values()) if self.metric.goal == "min" else max(cells.values()))
        tied = [cell for cell, mean in cells.items() if self.metric.show(mean) == top]
        return tied if len(tied) < len(cells) else []

    def draw(self, axes: "Axes") -> None:
        from matplotlib import colormaps
        from matplotlib.patches import Rectangle

        columns, rows, cells = self.levels(0), self.levels(1), self.cells()
        low, high = self.limits(cells)
        best = self.best()
        for row, second in enumerate(rows):
            for column, first in enumerate(columns):
                corner = column - 0.5, row - 0.5
                found = cells.get((first, second))
                if found is None:
                    axes.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="////", ec=MUTED[0], lw=0, alpha=0.6))
                    continue
                color = colormaps[COLORS]((found.mean - low) / (high - low))
                axes.add_patch(Rectangle(corner, 1, 1, fc=color, ec=color, lw=0.4))
                self._write(axes, column, row, found, color, len(columns))
        for first, second in best:
            corner = columns.index(first) - 0.46, rows.index(second) - 0.46
            axes.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, ec=INK[0], lw=2.6, zorder=5))
            axes.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, ec="white", lw=1.1, zorder=6))
        self._finish(axes, columns, rows)
        if cells:
            self._color_bar(axes, low, high)

    def _reaches_other_goals(self, cell: Cell) -> bool:
        study = self.results.study
        rows = self.results.at(self.results.trials, cell)
        for metric in study.metrics:
            if metric.name in study.goals and metric.name != self.metric.name:
                mean, goal = estimate(list(rows[metric.name])).mean, study.goals[metric.name]
                if not (mean >= goal if metric.goal == "max" else mean <= goal):
                    return False
        return True

    def limits(self, cells: Mapping[Cell, Estimate]) -> tuple[float, float]:
        """Of the colors; not so narrow that they exaggerate."""
        means = [found.mean for found in cells.values()] or [0.0]
        low, high = min(means), max(means)
        room = max(MIN_SPAN - (high - low), 0.0) / 2
        return low - room, high + room

    def _write(
        self, axes: "Axes", column: int, row: int, found: Estimate, color: tuple[float, ...], count: int
    ) -> None:
        text = self.metric.show(found.mean)
        if found.n > 1 and count <= MAX_COLUMNS_WITH_INTERVALS:
            text += f"\n± {self.metric.show(found.half_width)}"
        red, green, blue, *_ = color
        luminance = 0.299 * red + 0.587 * green + 0.114 * blue
        # Not the page's colors, which turn around in the dark: cells do not.
        ink = "#101418" if luminance > BRIGHT else "white"
        size = 8.0 if count <= MAX_COLUMNS_WITH_INTERVALS else 6.5
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=ink, linespacing=1.15)

    def _finish(self, axes: "Axes", columns: list[Level], rows: list[Level]) -> None:
        first, second = self.results.study.axes
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(-0.5, len(rows) - 0.5)
        axes.tick_params(length=0, pad=3)
        axes.set_xticks(range(len(columns)), [_tick(first, level) for level in columns])
        axes.set_yticks(range(len(rows)), [_tick(second, level) for level in rows])
        axes.set_xlabel(f"{first.label} →", fontsize=8.5, labelpad=2)
        # Between title and cells, where a long name has room.
        axes.annotate(
            f"↑ {second.label}", (0, 1), xytext=(-26, 3.5), xycoords="axes fraction", textcoords="offset points",
            fontsize=8.5, color=INK[0],
        )  # fmt: skip

    def _color_bar(self, axes: "Axes", low: float, high: float) -> None:
        """Drawn by hand, for matplotlib's is a picture, which a page without external resources has no place for."""
        from matplotlib import colormaps
        from matplotlib.patches import Rectangle

        left, width = 1.05, 0.045
        for step in range(STEPS):
            patch = Rectangle(
                (left, step / STEPS), width, 1 / STEPS + 0.002, transform=axes.transAxes, clip_on=False, lw=0,
                fc=colormaps[COLORS]((step + 0.5) / STEPS),
            )  # fmt: skip
            axes.add_patch(patch)
        for share in (0.0, 0.5, 1.0):
            text = self.metric.say_value(low + share * (high - low))
            axes.text(
                left + width + 0.02, share, text, transform=axes.transAxes, va="center", fontsize=8, color=MUTED[0]
            )


def is_heat_map(results: Results) -> bool:
    """Whether a study is a grid of two numeric axes."""
    axes = results.study.axes
    return results.study.search is None and len(axes) == 2 and all(axis.is_numeric for axis in axes)


def _tick(axis: Axis, level: Level) -> str:
    name = axis.name(level)
    shown = axis.show(level).removesuffix(f" ({name})")
    return f"{shown}\n{name}" if name else shown
