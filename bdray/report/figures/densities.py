"""How far apart a defense's similarities of clean and poisoned pairs are, as in UBT's Fig. 2, point by point."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.report.figures.canvas import style
from bdray.report.figures.colors import INK, MUTED, ORDERED
from bdray.report.results import Results
from bdray.report.similarities import SCORES, Pairs
from bdray.report.study import DASH, Axis, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 24
COLUMNS = 2
"""Of panels that only one axis tells apart."""
WIDTH, HEIGHT = 4.0, 2.8
"""Of one panel with its title and margins, in inches."""
LEFT, RIGHT, TOP, BOTTOM = 0.4, 0.15, 0.62, 0.45
"""Margins in inches."""
BINS = 40
HEADROOM = 1.3
"""Of the highest density, for the legend."""
MAX_TITLE = 46
CLEAN, POISONED = ORDERED[1], ORDERED[-1]


@dataclass(frozen=True)
class Densities:
    """Histograms of the clean and of the poisoned pairs that one defense ranked."""

    title: str
    point: Point
    pairs: Pairs
    limits: tuple[float, float]
    """Of the horizontal axis, the same for all panels of the same kind of similarity."""

    @property
    def subtitle(self) -> str:
        """Under which model, and of which pairs."""
        count = f"{self.pairs.count:,}"
        return f"{self.pairs.score.model}, " + (
            f"the {count} suspicious pairs" if self.pairs.score.of_suspicious else f"all {count} pairs"
        )

    def draw(self, axes: "Axes") -> None:
        """Draw into empty axes."""
        import numpy as np

        edges = np.linspace(*self.limits, BINS + 1)
        kinds = (("clean", self.pairs.clean, CLEAN[0]), ("poisoned", self.pairs.poisoned, POISONED[0]))
        for name, values, color in kinds:
            if len(values):
                density, _ = np.histogram(values, edges, density=True)
                axes.stairs(density, edges, fill=True, color=color, alpha=0.3)
                axes.stairs(density, edges, color=color, lw=1.3, label=f"{name}, {len(values):,}")
        axes.set_xlim(*self.limits)
        axes.set_ylim(0, HEADROOM * axes.dataLim.y1)
        axes.locator_params(axis="y", nbins=4)
        axes.set_xlabel("cosine similarity", fontsize=8.5, labelpad=2)
        auroc = DASH if math.isnan(self.pairs.auroc) else f"{self.pairs.auroc:.3f}"
        axes.legend(title=f"AUROC {auroc}", fontsize=8, title_fontsize=8.5, frameon=False, alignment="left", loc="best")


def density_panels(results: Results) -> list[Densities]:
    """The first points whose similarities are there."""
    judged = [(item.point, item.pairs) for item in results.judged if item.pairs is not None]
    limits = {score: _limits([pairs for _, pairs in judged if pairs.score == score]) for score in SCORES}
    axes = results.study.axes
    return [Densities(_title(axes, point), point, pairs, limits[pairs.score]) for point, pairs in judged[:MAX_PANELS]]


def compose_densities(panels: Sequence[Densities]) -> "Figure":
    """A row for each value of the first axis, a column for each of the others; panels of one column stand abreast."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    places = _places([panel.point for panel in panels])
    rows, columns = (1 + max(place[side] for place in places) for side in (0, 1))
    with style():
        figure = Figure(figsize=(columns * WIDTH, rows * HEIGHT))
        FigureCanvasAgg(figure)
        for panel, (row, column) in zip(panels, places, strict=True):
            left, bottom = column * WIDTH + LEFT, (rows - 1 - row) * HEIGHT + BOTTOM
            size = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
            across, up = columns * WIDTH, rows * HEIGHT
            panel.draw(figure.add_axes((left / across, bottom / up, size[0] / across, size[1] / up)))
            top = bottom + size[1]
            x = (left - LEFT + 0.1) / across
            figure.text(x, (top + 0.34) / up, panel.title, fontsize=10, fontweight="bold", color=INK[0])
            figure.text(x, (top + 0.16) / up, panel.subtitle, fontsize=8.5, color=MUTED[0])
    return figure


def _places(points: Sequence[Point]) -> list[tuple[int, int]]:
    """Row and column of each point."""
    heads, tails = (list(dict.fromkeys(part)) for part in ([p[:1] for p in points], [p[1:] for p in points]))
    if len(tails) == 1:
        return [divmod(index, COLUMNS) for index in range(len(points))]
    return [(heads.index(point[:1]), tails.index(point[1:])) for point in points]


def _limits(found: Sequence[Pairs]) -> tuple[float, float]:
    """From the lowest to the highest similarity of all, with a little room that histograms of one value need."""
    if not found:
        return -1.0, 1.0
    low, high = min(pairs.limits[0] for pairs in found), max(pairs.limits[1] for pairs in found)
    room = max(0.02 * (high - low), 0.01)
    return low - room, high + room


def _title(axes: Sequence[Axis], point: Point) -> str:
    """``BadNet, UBT``; numbers need the name of their axis: ``BadNet, floor = 0.1``."""
    words = [
        f"{axis.label} = {axis.show(level)}" if axis.is_numeric else axis.show(level)
        for axis, level in zip(axes, point, strict=True)
        if level is not None
    ]
    title = ", ".join(words) or "Trial"
    return title if len(title) <= MAX_TITLE else f"{title[: MAX_TITLE - 1]}…"
