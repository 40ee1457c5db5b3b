"""A metric over one numeric axis, in the manner of CleanCLIP's Fig. 5."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from bdray.report.figures.canvas import HEIGHT, limit_rate
from bdray.report.figures.colors import MEASURED, MUTED, PUBLISHED, VICTIM
from bdray.report.figures.labels import Label, label_ends
from bdray.report.results import Results
from bdray.report.statistics import estimate
from bdray.report.study import Axis, Metric, Point, show_level

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOTTED = (0, (1, 2))
"""Of victims, measured or published."""
DASHED = (0, (4, 2))
MAX_TICKS = 20
"""Values that have room for their names below the axis; of more, evenly many are named."""
LOG_FROM = 8.0
"""Ratio of the largest to the smallest positive value from which the axis is logarithmic."""


@dataclass(frozen=True)
class Scale:
    """Where values stand on the x axis.

    Over a wide range the scale is logarithmic, and zero, which has no logarithm, stands one step to the left
    of the smallest value behind a gap in the axis. A narrow range is linear.
    """

    values: tuple[float, ...]

    @cached_property
    def is_log(self) -> bool:
        positive = [value for value in self.values if value > 0]
        return len(positive) > 1 and min(self.values) >= 0 and max(positive) / min(positive) >= LOG_FROM

    @property
    def ticks(self) -> tuple[float, ...]:
        """The values to name: all, or so many of them that their names do not cover each other."""
        if len(self.values) <= MAX_TICKS:
            return self.values
        places = {self.place(value): value for value in self.values}
        spots = [max(places) * index / (MAX_TICKS // 2) for index in range(MAX_TICKS // 2 + 1)]
        return tuple(sorted({places[min(places, key=lambda place: abs(place - spot))] for spot in spots}))

    @cached_property
    def step(self) -> float:
        """Typical distance between neighbors, in decades on a logarithmic axis."""
        places = [math.log10(value) for value in self.values if value > 0] if self.is_log else list(self.values)
        return median(b - a for a, b in pairwise(places)) if len(places) > 1 else 1.0

    def place(self, value: float) -> float:
        """Position in steps from the leftmost value."""
        if not self.is_log:
            return (value - self.values[0]) / self.step
        first = next(v for v in self.values if v > 0)
        offset = 1 if self.values[0] == 0 else 0
        return 0.0 if value == 0 else offset + (math.log10(value) - math.log10(first)) / self.step

    @property
    def gap(self) -> float | None:
        """Place of the gap behind zero, if there is one."""
        return 0.5 if self.is_log and self.values[0] == 0 else None


@dataclass(frozen=True)
class Curve:
    """Mean with its interval, every seed, the victims' level or curve, and the published curves."""

    results: Results
    metric: Metric
    axis: Axis
    height: float = HEIGHT
    group: str = ""

    def draw(self, axes: "Axes") -> None:
        scale = self._scale()
        labels = [*self._measured(axes, scale), *self._published(axes, scale), *self._victims(axes, scale)]
        self._finish(axes, scale)
        label_ends(axes, labels)

    def _scale(self) -> Scale:
        levels = [point[0] for point in self.results.points()]
        levels += [printed.point[0] for printed in self.results.published]
        return Scale(tuple(sorted({level for level in levels if isinstance(level, float)})))

    def _measured(self, axes: "Axes", scale: Scale) -> list[Label]:
        trials, factor = self.results.trials, self.metric.scale
        for _, rows in trials.sort_values(self.axis.field).groupby("seed"):
            axes.plot(
                [scale.place(level) for level in rows[self.axis.field]],
                [value * factor for value in rows[self.metric.name]],
                color=MEASURED[0], alpha=0.4, lw=0.8, marker="o", ms=2.6, mec="none",
            )  # fmt: skip
        levels = sorted({float(level) for level in trials[self.axis.field]})
        interval = self.results.study.interval
        estimates = [estimate(list(self.results.at(trials, (level,))[self.metric.name]), interval) for level in levels]
        places = [scale.place(level) for level in levels]
        means = [e.mean * factor for e in estimates]
        limit = 100.0 if self.metric.is_rate else math.inf
        axes.fill_between(
            places,
            [max(e.low * factor, 0.0) if e.n > 1 else math.nan for e in estimates],
            [min(e.high * factor, limit) if e.n > 1 else math.nan for e in estimates],
            color=MEASURED[0], alpha=0.14, lw=0,
        )  # fmt: skip
        axes.plot(places, means, color=MEASURED[0], lw=2.4, marker="o", ms=5.5, zorder=4, clip_on=False)
        counts = {e.n for e in estimates if e.n}
        name = "measured,\n" + ("single seed" if counts == {1} else f"mean of {_range(counts)} seeds")
        ends = [mean for mean in means if not math.isnan(mean)]
        return [Label(name, MEASURED[0], ends[-1], "bold")] if ends else []

    def _published(self, axes: "Axes", scale: Scale) -> list[Label]:
        labels = []
        for pick in self.results.study.published:
            values = {
                printed.point: printed.value * self.metric.scale
                for printed in self.results.published
                if printed.pick == pick and printed.metric == self.metric.name
            }
            x, y = _line(scale, values)
            if not x:
                continue
            if pick.is_single:
                axes.plot(
                    x, y, ls="none", marker="D", ms=5.5, mfc="none", mec=PUBLISHED[0], mew=1.4, zorder=3, clip_on=False
                )
                text = pick.title.split(", ")[0].removeprefix(f"{pick.paper} ")
                axes.annotate(
                    text, (x[0], y[0]), xytext=(7, 0), textcoords="offset points",
                    fontsize=8, color=PUBLISHED[0], va="center",
                )  # fmt: skip
                continue
            dashes = DOTTED if pick.is_of_victims else DASHED
            axes.plot(x, y, color=PUBLISHED[0], lw=1.7, ls=dashes, marker="D", ms=4.2, mew=0, zorder=3, clip_on=False)
            labels.append(Label("published,\n" + pick.title.replace(", ", ",\n"), PUBLISHED[0], y[-1]))
        return labels

    def _victims(self, axes: "Axes", scale: Scale) -> list[Label]:
        """One level to refer to, or a curve of their own where the axis turns a knob of the victim."""
        rows = {point: self.results.at(self.results.victims, point) for point in self.results.victim_points()}
        means = {point: estimate(list(found[self.metric.name])).mean for point, found in rows.items()}
        values = {point: mean * self.metric.scale for point, mean in means.items() if not math.isnan(mean)}
        if not values:
            return []
        *_, end = values.values()
        x, y = _line(scale, values)
        if x:
            axes.plot(x, y, color=VICTIM[0], lw=1.6, ls=DOTTED, marker="o", ms=4, zorder=3, clip_on=False)
        else:
            axes.axhline(end, color=VICTIM[0], lw=1.2, ls=DOTTED, zorder=2)
        return [Label("victim,\nno defense", VICTIM[0], end)]

    def _finish(self, axes: "Axes", scale: Scale) -> None:
        if self.metric.is_rate:
            limit_rate(axes)
        axes.set_xlim(scale.place(scale.values[0]) - 0.35, scale.place(scale.values[-1]) + 0.35)
        ticks = scale.ticks
        axes.set_xticks([scale.place(value) for value in ticks], [_tick(self.axis, value) for value in ticks])
        names_below = any(self.axis.name(value) for value in ticks)
        axes.set_xlabel(self.axis.label, fontsize=10, labelpad=-9 if names_below else 2)
        if scale.gap is not None:
            _mark_gap(axes, scale.gap)


def _line(scale: Scale, values: Mapping[Point, float]) -> tuple[list[float], list[float]]:
    """The values that have a place on the axis, from left to right."""
    places = sorted((scale.place(level), value) for (level,), value in values.items() if isinstance(level, float))
    return [place for place, _ in places], [value for _, value in places]


def _tick(axis: Axis, value: float) -> str:
    name = axis.name(value)
    return f"{show_level(value)}\n{name}" if name else show_level(value)


def _range(counts: set[int]) -> str:
    return f"{min(counts)}–{max(counts)}" if len(counts) > 1 else "".join(map(str, counts))


def _mark_gap(axes: "Axes", place: float) -> None:
    """Two short strokes through the axis, the usual sign for a break."""
    for shift in (-0.05, 0.05):
        axes.plot(
            [place + shift - 0.04, place + shift + 0.04], [-0.018, 0.018],
            transform=axes.get_xaxis_transform(), color=MUTED[0], lw=0.9, clip_on=False,
        )  # fmt: skip
