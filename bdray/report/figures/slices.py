"""An objective over one knob of a search, whatever the others were."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.report.figures.colors import MEASURED, MEASURED_BAR, MUTED, VICTIM
from bdray.report.figures.sheet import Frame
from bdray.report.figures.window import clamp, window
from bdray.report.searches.points import Searched, Tried
from bdray.report.study import Axis, Level, Metric, show_level

if TYPE_CHECKING:
    from matplotlib.axes import Axes

JITTER = 0.28
"""Half of the width of a strip of points, in steps between names."""
MAX_NAME = 11


@dataclass(frozen=True)
class Slice:
    """Finished points over a knob, those left out where the knob does not apply."""

    found: Searched
    knob: int
    objective: int

    @property
    def axis(self) -> Axis:
        return self.found.axes[self.knob]

    @property
    def metric(self) -> Metric:
        return self.found.objectives[self.objective]

    @property
    def title(self) -> str:
        return f"{self.metric.label} over {self.axis.label}"

    @property
    def subtitle(self) -> str:
        count, everything = len(self._active()), len(self.found.complete)
        return f"the {count} of {everything} points that have it" if count < everything else f"{count} points"

    @property
    def frame(self) -> Frame:
        return Frame(width=2.9, height=2.5, left=0.46, right=0.2, bottom=0.42)

    def draw(self, axes: "Axes") -> None:
        active = self._active()
        place = self._scale(axes, [level for _, level in active])
        front = set(self.found.front)
        groups = (
            ([pair for pair in active if not pair[0].is_feasible], MUTED[0], "none", 4.0),
            ([pair for pair in active if pair[0].is_feasible and pair[0] not in front], MEASURED_BAR[0], None, 4.5),
            ([pair for pair in active if pair[0] in front], MEASURED[0], None, 5.5),
        )
        axes.set_ylim(*self._window())
        axes.locator_params(axis="y", nbins=5)
        for group, edge, face, size in groups:
            places = [(place(level, tried.number), self._value(tried)) for tried, level in group]
            spots = [clamp(axes, spot) for spot in places]
            for marker, is_inside in (("o", True), ("D", False)):  # outliers stand at the border
                shown = [spot for spot, true in zip(spots, places, strict=True) if (spot == true) == is_inside]
                axes.plot(
                    [x for x, _ in shown], [y for _, y in shown], ls="none", marker=marker, ms=size, mec=edge,
                    mfc=face or edge, mew=1.0, clip_on=False,
                )  # fmt: skip
        if len(self.found.victims) == 1:
            level = self.found.victims[0][self.objective].mean * self.metric.scale
            axes.axhline(level, color=VICTIM[0], lw=1.1, ls=(0, (1, 2)), zorder=1)

    def _value(self, tried: Tried) -> float:
        return tried.values[self.objective].mean * self.metric.scale

    def _window(self) -> tuple[float, float]:
        """The same for every knob."""
        victims = [victim[self.objective].mean * self.metric.scale for victim in self.found.victims]
        known = [level for level in victims if not math.isnan(level)]
        return window(
            self.metric, [*map(self._value, self.found.complete)], [*map(self._value, self.found.front)], known
        )

    def _active(self) -> list[tuple[Tried, Level]]:
        pairs = [(tried, tried.point[self.knob]) for tried in self.found.complete]
        return [(tried, level) for tried, level in pairs if level is not None]

    def _scale(self, axes: "Axes", levels: list[Level]) -> "_Place":
        """Set up the horizontal axis and say where a level stands on it."""
        axis = self.axis
        if axis.low is not None and axis.high is not None:
            numbers = [float(level) for level in levels]
            low, high = min([axis.low, *numbers]), max([axis.high, *numbers])
            _limit(axes, low, high, is_log=axis.log and low > 0)
            return _Place(())
        names = tuple(dict.fromkeys([*axis.levels, *levels]))
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_xticks(range(len(names)), [_short(axis.name(name) or show_level(name)) for name in names])
        if sum(len(_short(show_level(name))) for name in names) > 26:
            axes.tick_params(axis="x", labelrotation=20, labelsize=7)
        return _Place(names)


@dataclass(frozen=True)
class _Place:
    names: tuple[Level, ...]
    """In their order; empty on a numeric axis."""

    def __call__(self, level: Level, number: int) -> float:
        """Points of one name stand side by side, the same way every time."""
        if not self.names:
            return float(level)
        return self.names.index(level) + JITTER * (2 * (number * 0.618034 % 1) - 1)


def _limit(axes: "Axes", low: float, high: float, *, is_log: bool) -> None:
    if is_log:
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(
            LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 10 else (1.0, 3.0) if high / low < 1000 else (1.0,))
        )
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        room = (high / low) ** 0.05
        axes.set_xlim(low / room, high * room)
        return
    axes.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.locator_params(axis="x", nbins=6)


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
