"""What a search found, in the plane of its first two objectives."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.report.figures.colors import GRID, MEASURED, MEASURED_BAR, MUTED, VICTIM
from bdray.report.figures.labels import Label, label_ends
from bdray.report.figures.numbers import write_numbers
from bdray.report.figures.sheet import Frame
from bdray.report.figures.window import Place, clamp, is_known, window
from bdray.report.searches.constraints import Bound
from bdray.report.searches.points import Searched, Tried
from bdray.report.statistics import Estimate
from bdray.report.study import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class ParetoPlot:
    """Every finished point with its intervals, the front with its numbers, the victims and what constraints forbid."""

    found: Searched
    frame: Frame = Frame(width=5.5, height=4.6, left=0.6, right=1.1, bottom=0.85)
    title: str = "Pareto front"

    @property
    def metrics(self) -> tuple[Metric, Metric]:
        first, second, *_ = self.found.objectives
        return first, second

    @property
    def subtitle(self) -> str:
        x, y = self.metrics
        corner = f"{'upper' if y.goal == 'max' else 'lower'} {'right' if x.goal == 'max' else 'left'}"
        others = len(self.found.objectives) - 2
        more = f"; the front is of {others} more objective{'s' * (others > 1)}" if others else ""
        return f"{y.label} over {x.label}, better to the {corner}{more}"

    def draw(self, axes: "Axes") -> None:
        axes.grid(axis="both", visible=True)
        axes.set_xlim(*self._window(0))
        axes.set_ylim(*self._window(1))
        labels = [label for bound in self.found.bounds for label in self._constraint(axes, bound)]
        for group, name, edge, face, size in self._groups():
            self._points(axes, group, name, edge, face, size)
        if len(self.found.objectives) == 2:
            self._staircase(axes)
        self._numbers(axes)
        labels += self._victims(axes)
        x, y = self.metrics
        axes.set_xlabel(x.heading, fontsize=9, labelpad=3)
        axes.set_ylabel(y.heading, fontsize=9, labelpad=3)
        axes.legend(
            loc="upper left", bbox_to_anchor=(-0.02, -0.13), ncols=3, frameon=False, fontsize=8.5, handletextpad=0.2,
            columnspacing=1.4, borderaxespad=0,
        )  # fmt: skip
        label_ends(axes, labels)

    def _window(self, side: int) -> tuple[float, float]:
        def values(group: Sequence[Sequence[Estimate]]) -> list[float]:
            found = [estimates[side].mean * self.metrics[side].scale for estimates in group]
            return [value for value in found if not math.isnan(value)]

        everything = values([tried.values for tried in (*self.found.complete, *self.found.partial)])
        front = values([tried.values for tried in self.found.front])
        return window(self.metrics[side], everything, front, values(self.found.victims))

    def _place(self, values: Sequence[Estimate]) -> Place:
        x, y = self.metrics
        return values[0].mean * x.scale, values[1].mean * y.scale

    def _groups(self) -> list[tuple[Sequence[Tried], str, str, str, float]]:
        """Points with their name, the colors of their edge and face, and their size; the last drawn on top."""
        found = self.found
        others = [tried for tried in found.feasible if tried not in found.front]
        broken = [tried for tried in found.complete if not tried.is_feasible]
        return [
            (found.partial, "not all seeds yet", MUTED[0], "none", 3.0),
            (broken, "breaks a constraint", MUTED[0], "none", 5.0),
            (others, "beaten", MEASURED_BAR[0], MEASURED_BAR[0], 5.5),
            (found.front, "on the front", MEASURED[0], MEASURED[0], 6.5),
        ]

    def _points(self, axes: "Axes", group: Sequence[Tried], name: str, edge: str, face: str, size: float) -> None:
        known = [tried for tried in group if is_known(self._place(tried.values))]
        if not known:
            return
        places = [self._place(tried.values) for tried in known]
        spots = [clamp(axes, place) for place in places]
        inside = [place for place, spot in zip(places, spots, strict=True) if place == spot]
        outside = [spot for place, spot in zip(places, spots, strict=True) if place != spot]
        for shown, marker, label in ((inside, "o", name), (outside, "D", None)):
            axes.plot(
                [x for x, _ in shown], [y for _, y in shown], ls="none", marker=marker, ms=size, mec=edge, mfc=face,
                mew=1.1, label=label, clip_on=False, zorder=4,
            )  # fmt: skip
        first, second = self.metrics
        for tried, (x, y) in zip(known, places, strict=True):
            across, up = tried.values[:2]
            if min(across.n, up.n) > 1:
                axes.hlines(y, across.low * first.scale, across.high * first.scale, color=edge, lw=0.8, zorder=3)
                axes.vlines(x, up.low * second.scale, up.high * second.scale, color=edge, lw=0.8, zorder=3)

    def _staircase(self, axes: "Axes") -> None:
        """The border of what the front beats: nothing that keeps the constraints lies beyond it."""
        x, y = self.metrics
        places = sorted((self._place(tried.values) for tried in self.found.front), reverse=x.goal == "max")
        if not places:
            return
        end = axes.get_xlim()[x.goal == "min"]
        xs, ys = [places[0][0]], [axes.get_ylim()[y.goal == "min"]]
        for here, after in zip(places, [*(place[0] for place in places[1:]), end], strict=True):
            xs += [here[0], after]
            ys += [here[1], here[1]]
        axes.plot(xs, ys, color=MEASURED[0], lw=1.0, alpha=0.55, zorder=2)

    def _numbers(self, axes: "Axes") -> None:
        x, y = self.metrics
        angle = math.degrees(math.atan2(1 if y.goal == "max" else -1, 1 if x.goal == "max" else -1))
        shown = [clamp(axes, self._place(tried.values)) for tried in self.found.front]
        rest = [tried.values for tried in (*self.found.complete, *self.found.partial) if tried not in self.found.front]
        places = [self._place(values) for values in (*rest, *self.found.victims)]
        others = [clamp(axes, place) for place in places if is_known(place)]
        write_numbers(axes, shown, [str(tried.number) for tried in self.found.front], others, MEASURED[0], angle)

    def _victims(self, axes: "Axes") -> list[Label]:
        places = [place for place in map(self._place, self.found.victims) if is_known(place)]
        if not places:
            return []
        spots = [clamp(axes, place) for place in places]
        axes.plot(
            [x for x, _ in spots], [y for _, y in spots], ls="none", marker="X", ms=8, mfc=VICTIM[0], mec="none",
            clip_on=False, zorder=6, label=f"victim{'s' * (len(spots) > 1)}, no defense",
        )  # fmt: skip
        if len(places) > 1 or places == spots:
            return []
        pairs = zip(self.metrics, places[0], strict=True)
        values = [f"{metric.label} {metric.say_value(value / metric.scale)}" for metric, value in pairs]
        return [Label("victim beyond,\n" + ",\n".join(values), VICTIM[0], spots[0][1])]

    def _constraint(self, axes: "Axes", bound: Bound) -> list[Label]:
        """Shade what a bound on one of the two metrics forbids; if victims differ, that has no one place."""
        side = [metric.name for metric in self.metrics].index(bound.metric.name) if self._is_drawn(bound) else None
        if side is None:
            return []
        victim = self.found.victims[0][side].mean if self.found.victims else math.nan
        limit = bound.limit(victim) * bound.metric.scale
        low, high = axes.get_ylim() if side else axes.get_xlim()
        start, end = (low, min(limit, high)) if bound.is_lower else (max(limit, low), high)
        if start < end:
            (axes.axhspan if side else axes.axvspan)(start, end, color=GRID[0], alpha=0.75, lw=0, zorder=0)
        if not low < limit < high:
            return []
        (axes.axhline if side else axes.axvline)(limit, color=MUTED[0], lw=1.0, ls=(0, (4, 3)), zorder=1)
        sign = "≥" if bound.is_lower else "≤"
        text = f"{bound.metric.label} {sign} {bound.metric.say_value(limit / bound.metric.scale)}"
        if side:
            return [Label(text, MUTED[0], limit)]
        axes.text(limit, 1.01, text, transform=axes.get_xaxis_transform(), ha="center", fontsize=8, color=MUTED[0])
        return []

    def _is_drawn(self, bound: Bound) -> bool:
        is_shown = bound.metric.name in [metric.name for metric in self.metrics]
        return is_shown and (bound.kind != "max_loss" or len(self.found.victims) == 1)
