"""Arranging panels into a figure and writing it, without any of pyplot's global state."""

import math
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import StringIO
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING, Protocol

from bdray.report.figures.colors import GRID, INK, MUTED
from bdray.report.study import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2
FORMATS = ("png", "svg", "pdf")
WIDTH, HEIGHT = 5.3, 3.65
"""Of one panel in inches, with room for its labels on the right."""


class Panel(Protocol):
    """Draws one metric."""

    @property
    def metric(self) -> Metric: ...

    @property
    def height(self) -> float:
        """In inches."""
        ...

    @property
    def group(self) -> str:
        """What the panel is about where its metric has several panels; empty where it has one."""
        ...

    def draw(self, axes: "Axes") -> None:
        """Draw into empty axes whose place in the figure is final."""
        ...


def compose(panels: Sequence[Panel], *, lettered: bool = True) -> "Figure":
    """Panels two by two, titled and, as in a paper, lettered."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = max(panel.height for panel in panels)
    columns = min(len(panels), COLUMNS)
    rows = math.ceil(len(panels) / columns)
    width, total = WIDTH * columns, height * rows
    with style():
        figure = Figure(figsize=(width, total))
        FigureCanvasAgg(figure)
        for index, panel in enumerate(panels):
            row, column = divmod(index, columns)
            left, bottom = column * WIDTH + 0.44, (rows - 1 - row) * height + 0.56
            axes = figure.add_axes((left / width, bottom / total, 3.4 / width, (height - 1.16) / total))
            panel.draw(axes)
            letter = f"({ascii_lowercase[index]}) " if lettered and 1 < len(panels) <= len(ascii_lowercase) else ""
            _title(axes, panel.metric, letter, panel.group)
    return figure


def save(figure: "Figure", folder: Path, name: str) -> list[Path]:
    """Write ``name.png``, ``name.svg`` and ``name.pdf``; the same figure gives the same bytes."""
    paths = [folder / f"{name}.{kind}" for kind in FORMATS]
    undated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with style():
        for path, kind in zip(paths, FORMATS, strict=True):
            figure.savefig(path, format=kind, dpi=200, facecolor="white", metadata=undated[kind])
    return paths


def to_svg(figure: "Figure", prefix: str) -> str:
    """An ``<svg>`` element to put into a page: transparent, without external references, its ids prefixed."""
    buffer = StringIO()
    with style():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:xmlns(?::\w+)?|version)="[^"]*"', "", svg)  # HTML knows what an svg is
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)  # the page decides; the viewBox keeps the shape
    return re.sub(r'( id="|href="#|url\(#)', rf"\1{prefix}-", svg)


def limit_rate(axes: "Axes") -> None:
    """Show percentages from 0 to 100, or only the upper part where everything drawn lies there."""
    bottom = axes.dataLim.y0
    low = 10 * int((bottom - 10) / 10) if math.isfinite(bottom) and bottom >= 60 else 0
    axes.set_ylim(low, 100 + 0.025 * (100 - low))  # a marker at 100 stays whole
    axes.set_yticks(range(low, 101, 20 if low == 0 else 10))


def _title(axes: "Axes", metric: Metric, letter: str, group: str) -> None:
    words = re.sub(r"_top\d+$", "", metric.name).replace("_", " ").capitalize()
    title = f"{group}: {words.lower()}" if group else words
    goal = "lower is better" if metric.goal == "min" else "higher is better"
    unit = f" in {metric.unit}" if metric.unit else ""
    position = axes.get_position()
    figure = axes.get_figure(root=True)
    if figure is None:
        return
    inch = 1 / figure.get_figheight()
    left = position.x0 - 0.36 / figure.get_figwidth()
    figure.text(left, position.y1 + 0.40 * inch, f"{letter}{title}", fontsize=11, fontweight="bold", color=INK[0])
    figure.text(left, position.y1 + 0.19 * inch, f"{metric.label}{unit}, {goal}", fontsize=8.5, color=MUTED[0])


def style() -> AbstractContextManager[None]:
    """Fonts, colors and lines of all figures."""
    from matplotlib import rc_context

    return rc_context(
        {
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "text.color": INK[0],
            "text.parse_math": False,  # a label is text, whatever a study puts into it
            "axes.labelcolor": INK[0],
            "axes.edgecolor": MUTED[0],
            "axes.linewidth": 0.8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.spines.left": False,
            "axes.axisbelow": True,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "grid.color": GRID[0],
            "grid.linewidth": 0.8,
            "xtick.color": MUTED[0],
            "xtick.labelcolor": INK[0],
            "ytick.color": MUTED[0],
            "ytick.labelcolor": MUTED[0],
            "ytick.major.size": 0,
            "svg.fonttype": "path",
            "svg.hashsalt": "bdray",
            "pdf.fonttype": 42,
        }
    )
