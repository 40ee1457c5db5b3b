"""The points of a front with their knobs, written beside a figure that shows their numbers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.report.figures.colors import GRID, INK, MEASURED, MUTED
from bdray.report.figures.sheet import Frame
from bdray.report.searches.listing import front_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bdray.report.searches.points import Searched

LINE = 0.2
"""Height of a line in inches."""
CHARACTER, GAP = 0.075, 0.16
"""Width of a character and between columns in inches."""
MAX_LINES = 22


@dataclass(frozen=True)
class Key:
    """A table of text."""

    found: "Searched"
    title: str = ""
    subtitle: str = ""

    @property
    def frame(self) -> Frame:
        height = 0.7 + LINE * (2 + min(len(self.found.front), MAX_LINES))
        return Frame(width=sum(self._widths()) + 0.3, height=height, left=0.1, right=0.1, top=0.5, bottom=0.1)

    def draw(self, axes: "Axes") -> None:
        lines = self._lines()
        axes.set_axis_off()
        axes.set_xlim(0, sum(self._widths()))
        axes.set_ylim(-(self.frame.height - self.frame.top - self.frame.bottom), 0)
        for row, line in enumerate(lines):
            x = 0.0
            for column, (text, width) in enumerate(zip(line, self._widths(), strict=True)):
                color = MUTED[0] if row == 0 else MEASURED[0] if column == 0 else INK[0]
                weight = "bold" if row == 0 or column == 0 else "normal"
                axes.text(x, -LINE * (row + 0.5), text, fontsize=8.5, color=color, fontweight=weight, va="center")
                x += width
        axes.axhline(-LINE, color=GRID[0], lw=1.2)
        hidden = len(self.found.front) - MAX_LINES
        if hidden > 0:
            axes.text(0, -LINE * (len(lines) + 0.5), f"and {hidden} more", fontsize=8.5, color=MUTED[0], va="center")

    def _lines(self) -> list[list[str]]:
        header, rows = front_table(self.found)
        return [header, *rows[:MAX_LINES]]

    def _widths(self) -> list[float]:
        return [CHARACTER * max(map(len, column)) + GAP for column in zip(*self._lines(), strict=True)]
