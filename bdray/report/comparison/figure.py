"""The first shared metrics of a comparison, place by place, a color for each study."""

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.report.comparison.comparison import Comparison, Line
from bdray.report.figures import MAX_PANELS, Panel
from bdray.report.figures.colors import INK, ordered
from bdray.report.study import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEP = 0.17
"""Between the studies of one place, in inches, as is all that follows."""
HEAD = 0.3
"""Of a place's name above its studies."""
MARGIN = 1.3
"""Above and below the panel."""
MAX_PLACES = 30
MAX_NAME = 20
"""Characters of a study's name in one line."""


@dataclass(frozen=True)
class Dots:
    """Means with their intervals; open dots are single seeds."""

    comparison: Comparison
    metric: Metric
    group: str = ""

    @property
    def height(self) -> float:
        return MARGIN + sum(HEAD + STEP * sum(value.n > 0 for value in line.values) for line in self._lines)

    @property
    def _lines(self) -> list[Line]:
        """Of attacks that several studies have, if there are any; as many as one can read."""
        lines, shared = self.comparison.lines[self.metric.name], self.comparison.shared_attacks
        return [line for line in lines if not shared or line.place.identity[0] in shared][:MAX_PLACES]

    def draw(self, axes: "Axes") -> None:
        sides = self.comparison.sides
        colors = ordered(len(sides))
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        y = 0.0
        for line in self._lines:
            axes.text(
                0, y, line.place.name, fontsize=8.5, color=INK[0], va="center", transform=axes.get_yaxis_transform()
            )
            y += HEAD / 2
            for value, color in zip(line.values, colors, strict=True):
                if not value.n:
                    continue
                y += STEP
                scale = self.metric.scale
                limits = (0.0, 100.0) if self.metric.is_rate else (-math.inf, math.inf)
                if value.n > 1:
                    ends = max(value.low * scale, limits[0]), min(value.high * scale, limits[1])
                    axes.hlines(y - STEP / 2, *ends, color=color, lw=1.6)
                axes.plot(
                    value.mean * scale, y - STEP / 2, "o", ms=5.2, mec=color, mfc=color if value.n > 1 else "none",
                    mew=1.3, clip_on=False, zorder=4,
                )  # fmt: skip
            y += HEAD / 2
        axes.set_ylim(max(y, HEAD) - HEAD / 4, -HEAD / 2)
        axes.set_yticks([])
        if self.metric.is_rate:
            axes.set_xlim(0, 100)
        _legend(axes, [side.name for side in sides], colors)


def _legend(axes: "Axes", names: list[str], colors: list[str]) -> None:
    """The studies' names in their colors, in the right margin."""
    top = -6
    for name, color in zip(names, colors, strict=True):
        text = textwrap.fill(name.replace("/", "/ "), MAX_NAME).replace("/ ", "/")
        axes.annotate(
            text, (1, 1), xytext=(9, top), xycoords="axes fraction", textcoords="offset points",
            fontsize=8.5, color=color, fontweight="bold", va="top", annotation_clip=False,
        )  # fmt: skip
        top -= 5 + 11 * (text.count("\n") + 1)


def panels_of(comparison: Comparison) -> list[Panel]:
    """The attack and its price, as far as the studies share them and have results."""
    shown = [metric for metric in comparison.metrics if comparison.lines[metric.name]]
    return [Dots(comparison, metric) for metric in shown[:MAX_PANELS]]
