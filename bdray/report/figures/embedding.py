"""Where clean, triggered and target images lie under each model, as in CleanCLIP's Fig. 1 and 4."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bdray.report.embeddings import Map
from bdray.report.figures.canvas import style
from bdray.report.figures.colors import INK, MEASURED, MEASURED_BAR, MUTED, PUBLISHED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_MAPS = 12
COLUMNS = 3
SIDE, GAP, TITLE, LEGEND = 3.0, 0.2, 0.3, 0.32
"""Inches: of a map, between maps, for the name above one, and for the legend below all."""
COLORS = {"clean": MEASURED_BAR, "target": MEASURED, "triggered": PUBLISHED}
MARKERS = {"clean": "o", "target": "^", "triggered": "x"}
SIZES = {"clean": 9, "target": 12, "triggered": 11}
MAX_TITLE = 40


def compose_maps(maps: Sequence[Map]) -> "Figure":
    """The first maps that are there, three abreast; kinds differ in shape as well as in color."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [(item, item.points) for item in maps if item.points is not None][:MAX_MAPS]
    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    across, up = columns * (SIDE + GAP) + GAP, rows * (SIDE + TITLE + GAP) + LEGEND
    with style():
        figure = Figure(figsize=(across, up))
        FigureCanvasAgg(figure)
        handles = {}
        for index, (item, points) in enumerate(shown):
            row, column = divmod(index, columns)
            left, top = GAP + column * (SIDE + GAP), up - row * (SIDE + TITLE + GAP) - TITLE
            axes = figure.add_axes((left / across, (top - SIDE) / up, SIDE / across, SIDE / up))
            for kind, places in points.items():
                handles[kind] = axes.scatter(
                    places[:, 0], places[:, 1], s=SIZES[kind], marker=MARKERS[kind], lw=0.8, alpha=0.85,
                    color=COLORS[kind][0], edgecolors=None if kind == "triggered" else "none",
                )  # fmt: skip
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[["top", "right", "left", "bottom"]].set(visible=True, color=MUTED[0], linewidth=0.6)
            axes.grid(visible=False)
            title = item.label if len(item.label) <= MAX_TITLE else f"{item.label[: MAX_TITLE - 1]}…"
            figure.text(left / across, (top + 0.08) / up, title, fontsize=10, fontweight="bold", color=INK[0])
        names = [{"target": "clean, of the target", "triggered": "triggered"}.get(kind, kind) for kind in handles]
        figure.legend(
            list(handles.values()), names, loc="lower left", bbox_to_anchor=(GAP / across, 0), ncols=len(names),
            fontsize=8.5, frameon=False, markerscale=1.6, borderpad=0, handletextpad=0.3, columnspacing=1.2,
        )  # fmt: skip
    return figure
