"""The figures of a report. A panel draws one metric into one matplotlib axes; the canvas arranges and writes panels."""

from bdray.report.figures.bars import Bars
from bdray.report.figures.canvas import Panel, compose, save, to_svg
from bdray.report.figures.curve import Curve
from bdray.report.figures.densities import Densities, compose_densities, density_panels
from bdray.report.figures.examples import compose_pictures
from bdray.report.figures.learning import Learning
from bdray.report.results import Results

__all__ = [
    "Densities",
    "Panel",
    "compose",
    "compose_densities",
    "compose_pictures",
    "density_panels",
    "learning_panels",
    "result_panels",
    "save",
    "to_svg",
]

MAX_PANELS = 2
"""As in the paper's Fig. 5: the attack and its price."""


def result_panels(results: Results) -> list[Panel]:
    """A panel for each of the study's first metrics: a curve over one numeric axis, bars for anything else."""
    metrics = results.study.metrics[:MAX_PANELS] if len(results.trials) else []
    if results.axis:
        return [Curve(results, metric, results.axis) for metric in metrics]
    return [Bars(results, metric) for metric in metrics]


def learning_panels(results: Results) -> list[Panel]:
    """The same metrics by epoch on the validation split, as far as they were recorded."""
    panels = [Learning(results, metric) for metric in results.study.metrics[:MAX_PANELS]]
    return [panel for panel in panels if panel.lines()]
