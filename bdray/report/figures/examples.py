"""What the triggers look like: every attack's picture under its name, two abreast."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bdray.report.examples import ROWS, Picture
from bdray.report.figures.canvas import style
from bdray.report.figures.colors import INK, MUTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 2
MARGIN, WIDTH, GAP, TITLE = 1.05, 3.6, 0.25, 0.32
"""Inches: for the names of the rows, of a picture, between pictures, and for the name above one."""


def compose_pictures(pictures: Sequence[Picture]) -> "Figure":
    """All pictures that could be read; the rows are named once for each line of pictures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [(picture, picture.pixels) for picture in pictures if picture.pixels is not None]
    columns = min(COLUMNS, len(shown))
    height = max(WIDTH * picture.size[1] / picture.size[0] for picture, _ in shown)
    lines = math.ceil(len(shown) / columns)
    total = (MARGIN + columns * (WIDTH + GAP), lines * (TITLE + height) + GAP)
    with style():
        figure = Figure(figsize=total)
        FigureCanvasAgg(figure)
        for index, (picture, pixels) in enumerate(shown):
            line, column = divmod(index, columns)
            left, top = MARGIN + column * (WIDTH + GAP), total[1] - line * (TITLE + height) - TITLE
            own = WIDTH * picture.size[1] / picture.size[0]
            axes = figure.add_axes((left / total[0], (top - own) / total[1], WIDTH / total[0], own / total[1]))
            axes.imshow(pixels, interpolation="nearest", aspect="auto")
            axes.set_axis_off()
            _write(figure, left, top + 0.08, picture.label, fontsize=10, fontweight="bold", color=INK[0])
            for row, name in enumerate(ROWS if column == 0 else ()):
                place = top - own * (row + 0.5) / len(ROWS)
                _write(figure, left - 0.1, place, name, fontsize=8, color=MUTED[0], ha="right", va="center")
    return figure


def _write(figure: "Figure", x: float, y: float, text: str, **looks: Any) -> None:
    """Write text at a place in inches."""
    figure.text(x / figure.get_figwidth(), y / figure.get_figheight(), text, **looks)
