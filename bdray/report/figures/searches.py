"""The figures of a search: what it found, how it got there, and what its knobs do."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bdray.report.figures.attempts import BestSoFar, Growth
from bdray.report.figures.importances import ImportanceBars
from bdray.report.figures.key import Key
from bdray.report.figures.pareto import ParetoPlot
from bdray.report.figures.sheet import Drawing
from bdray.report.figures.slices import Slice
from bdray.report.searches.points import Searched

MAX_COLUMNS = 6
MAX_OBJECTIVES = 3
"""That have slices and importances."""


@dataclass(frozen=True)
class Sheet:
    """Drawings that make one file."""

    name: str
    """Of the file, without its ending."""
    drawings: Sequence[Drawing | None]
    """None where the last row has gaps."""
    columns: int


def search_sheets(found: Searched | None) -> list[Sheet]:
    """As far as there is anything to draw; nothing for a grid."""
    if found is None or not found.complete:
        return []
    sheets = [Sheet("figure", [main_drawing(found), *([Key(found)] if found.front else [])], 2)]
    sheets += [Sheet(name, group, 2) for name, group in (("hypervolume", growth(found)), ("importances", bars(found)))]
    sheets.append(_slices(found))
    return [sheet for sheet in sheets if sheet.drawings]


def main_drawing(found: Searched) -> ParetoPlot | BestSoFar:
    """The plane of the first two objectives, or the course of a single one."""
    return ParetoPlot(found) if len(found.objectives) > 1 else BestSoFar(found)


def growth(found: Searched) -> list[Growth]:
    """Hypervolume over trials, where several objectives span one."""
    return [Growth(found)] if len(found.objectives) > 1 and found.hypervolumes() else []


def bars(found: Searched) -> list[ImportanceBars]:
    """One drawing per objective."""
    return [ImportanceBars(importances) for importances in found.importances[:MAX_OBJECTIVES]]


def knob_drawings(found: Searched) -> list[list[Slice]]:
    """For each knob that has values, a drawing per objective."""
    active = [knob for knob in range(len(found.axes)) if any(tried.point[knob] is not None for tried in found.complete)]
    objectives = range(min(len(found.objectives), MAX_OBJECTIVES))
    return [[Slice(found, knob, objective) for objective in objectives] for knob in active]


def _slices(found: Searched) -> Sheet:
    """The objectives of a knob one below the other; many knobs break into several bands."""
    knobs: list[list[Slice | None]] = [list(drawings) for drawings in knob_drawings(found)]
    bands = math.ceil(len(knobs) / MAX_COLUMNS)
    columns = math.ceil(len(knobs) / max(bands, 1))
    gap: list[Slice | None] = [None] * len(found.objectives)
    knobs += [gap] * (bands * columns - len(knobs))
    rows = [row for band in range(bands) for row in zip(*knobs[band * columns : (band + 1) * columns], strict=False)]
    return Sheet("slices", [drawing for row in rows for drawing in row], columns)
