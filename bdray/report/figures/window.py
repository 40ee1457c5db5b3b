"""What part of a plane a scatter plot shows: all but outliers, which it draws at the border."""

import math
from collections.abc import Sequence
from statistics import quantiles
from typing import TYPE_CHECKING

from bdray.report.study import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Place = tuple[float, float]
FENCE, FAR = 1.5, 3.0
"""Interquartile ranges beyond which a point is an outlier, and beyond which it is far out (Tukey)."""
LEAST = 20
"""Last printed digits that a figure shows at least: 2 points of a percentage."""
ROOM = 0.07
"""Between the last point and the border, as a share of the whole."""


def window(
    metric: Metric, values: Sequence[float], kept: Sequence[float], wished: Sequence[float]
) -> tuple[float, float]:
    """Limits of one side.

    Args:
        metric: Whose values they are; a difference that is hardly printed does not fill a figure.
        values: Of all points, as printed.
        kept: Those of ``values`` that are shown unless they are far out: collapsed models may be on a front.
        wished: Further values, each shown if it needs no more room than the points do.
    """
    shown = sorted(values)
    if len(shown) > 3:
        low, _, high = quantiles(shown, n=4, method="inclusive")
        if high > low:  # else half of them are the same, which says nothing of the others
            reach = {value: (FAR if value in kept else FENCE) * (high - low) for value in shown}
            shown = [value for value in shown if low - reach[value] <= value <= high + reach[value]]
    bottom, top = min(shown), max(shown)
    lacking = max(LEAST * 10.0**-metric.digits - (top - bottom), 0.0)
    below = min(lacking / 2, bottom) if bottom >= 0 else lacking / 2  # there are no rates below 0
    bottom, top = bottom - below, top + lacking - below
    span = top - bottom
    for value in wished:
        if bottom - span <= value <= top + span:
            bottom, top = min(bottom, value), max(top, value)
    room = ROOM * (top - bottom)
    return bottom - room, top + room


def clamp(axes: "Axes", place: Place) -> Place:
    """The place itself, or the one on the border of the axes that is next to it."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    return min(max(place[0], left), right), min(max(place[1], bottom), top)


def is_known(place: Place) -> bool:
    """Whether both numbers are there."""
    return not any(map(math.isnan, place))
