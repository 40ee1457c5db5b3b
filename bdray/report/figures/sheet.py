"""Figures of several drawings that are no panel of one metric: each has its own title, size and margins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bdray.report.figures.canvas import style
from bdray.report.figures.colors import INK, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Frame:
    """Size of a drawing and its margins, in inches."""

    width: float
    height: float
    left: float = 0.5
    right: float = 0.2
    top: float = 0.62
    """With the title, and below it the subtitle."""
    bottom: float = 0.5


class Drawing(Protocol):
    """Draws into axes of its own."""

    @property
    def title(self) -> str: ...

    @property
    def subtitle(self) -> str: ...

    @property
    def frame(self) -> Frame: ...

    def draw(self, axes: "Axes") -> None:
        """Draw into empty axes whose place in the figure is final."""
        ...


def compose_sheet(drawings: Sequence[Drawing | None], columns: int = 1) -> "Figure":
    """Drawings row by row, None leaving a gap; columns are as wide as their widest, rows as high as their highest."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(columns, len(drawings))
    widths = [max(each.frame.width for each in drawings[column::columns] if each) for column in range(columns)]
    rows = [drawings[start : start + columns] for start in range(0, len(drawings), columns)]
    heights = [max(each.frame.height for each in row if each) for row in rows]
    across, up = sum(widths), sum(heights)
    with style():
        figure = Figure(figsize=(across, up))
        FigureCanvasAgg(figure)
        for index, drawing in enumerate(drawings):
            if drawing is None:
                continue
            row, column = divmod(index, columns)
            left, top, frame = sum(widths[:column]), up - sum(heights[:row]), drawing.frame
            size = frame.width - frame.left - frame.right, frame.height - frame.top - frame.bottom
            corner = left + frame.left, top - frame.height + frame.bottom
            axes = figure.add_axes((corner[0] / across, corner[1] / up, size[0] / across, size[1] / up))
            drawing.draw(axes)
            x = (left + 0.08) / across
            figure.text(x, (top - 0.22) / up, drawing.title, fontsize=11, fontweight="bold", color=INK[0])
            figure.text(x, (top - 0.43) / up, drawing.subtitle, fontsize=8.5, color=MUTED[0])
    return figure
