"""The figures of a report. A panel draws one metric into one matplotlib axes; the canvas arranges and writes panels."""

from bdray.report.figures.bars import Bars
from bdray.report.figures.canvas import Panel, compose, save, to_svg
from bdray.report.figures.curve import Curve
from bdray.report.figures.densities import Densities, compose_densities, density_panels
from bdray.report.figures.embedding import compose_maps
from bdray.report.figures.examples import compose_pictures
from bdray.report.figures.heat_map import HeatMap, is_heat_map
from bdray.report.figures.learning import Learning
from bdray.report.figures.searches import search_sheets
from bdray.report.figures.sheet import compose_sheet
from bdray.report.figures.trajectories import Trajectories
from bdray.report.results import Results
from bdray.report.study import Level

__all__ = [
    "Densities",
    "Panel",
    "compose",
    "compose_densities",
    "compose_maps",
    "compose_pictures",
    "compose_sheet",
    "density_panels",
    "learning_panels",
    "result_panels",
    "save",
    "search_sheets",
    "to_svg",
]

MAX_LINES = 8
"""That one panel of learning curves can hold."""
MAX_PANELS = 2
"""As in the paper's Fig. 5: the attack and its price."""


def result_panels(results: Results) -> list[Panel]:
    """A panel for each of the study's first metrics: a curve over a numeric axis, a map of two, bars for anything else.

    None for a search, which has figures of its own.
    """
    metrics = results.study.metrics[:MAX_PANELS] if len(results.trials) and not results.study.search else []
    if is_heat_map(results):
        return [HeatMap(results, metric) for metric in metrics]
    if results.axis:
        return [Curve(results, metric, results.axis) for metric in metrics]
    return [Bars(results, metric) for metric in metrics]


def learning_panels(results: Results) -> list[Panel]:
    """The same metrics by epoch on the validation split, as far as they were recorded.

    Where one panel would be crowded each level of the first axis has panels of its own.
    """
    metrics, axes = results.study.metrics[:MAX_PANELS], results.study.axes
    if results.study.search:
        trajectories = [Trajectories(results, metric) for metric in metrics]
        return [panel for panel in trajectories if panel.lines()]
    is_crowded = len(axes) > 1 and len(results.points()) > MAX_LINES
    levels: list[Level | None] = list(dict.fromkeys(point[0] for point in results.points())) if is_crowded else [None]
    panels = [Learning(results, metric, level=level) for level in levels for metric in metrics]
    return [panel for panel in panels if panel.lines()]
