"""Importances of a search's knobs for one objective."""

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.report.figures.colors import INK, MEASURED, MEASURED_BAR, MUTED
from bdray.report.figures.sheet import Frame
from bdray.report.searches.importance import Importances

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.42
"""Height of one bar with its name above it, in inches."""


@dataclass(frozen=True)
class ImportanceBars:
    """One bar per knob, the largest on top; pale where chance gives as much."""

    found: Importances

    @property
    def title(self) -> str:
        return f"What decides {self.found.metric.label}"

    @property
    def subtitle(self) -> str:
        return f"PED-ANOVA: the best {self.found.num_best} of {self.found.num_points} points against all"

    @property
    def frame(self) -> Frame:
        return Frame(width=4.4, height=1.15 + ROW * len(self.found.knobs), left=0.12, right=0.55, bottom=0.42)

    def draw(self, axes: "Axes") -> None:
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        for row, (axis, share, is_beyond_chance) in enumerate(self.found.knobs):
            color = MEASURED[0] if is_beyond_chance else MEASURED_BAR[0]
            axes.barh(row + 0.14, 100 * share, height=0.36, color=color, lw=0)
            name = textwrap.shorten(axis.label, 48, placeholder="…")
            axes.text(0.4, row - 0.24, name, fontsize=8.5, color=INK[0], va="center")
            axes.text(100 * share + 1, row + 0.14, f"{100 * share:.0f}%", fontsize=8.5, color=MUTED[0], va="center")
        axes.set_ylim(len(self.found.knobs) - 0.5, -0.6)
        axes.set_xlim(0, 100)
        axes.set_yticks([])
        axes.set_xticks([0, 25, 50, 75, 100], ["0%", "25%", "50%", "75%", "100%"])
