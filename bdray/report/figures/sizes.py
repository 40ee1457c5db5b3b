"""A metric over sizes with the law that it follows, and below it what the law leaves unexplained."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.report.figures.canvas import limit_rate
from bdray.report.figures.colors import MEASURED, MUTED, PUBLISHED, VICTIM
from bdray.report.figures.labels import Label, label_ends
from bdray.report.results import Results
from bdray.report.scaled_series import Series
from bdray.report.scaling import near_best
from bdray.report.statistics import Estimate, estimate
from bdray.report.study import Metric, show_level

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {"trial": MEASURED, "victim": VICTIM, "published": PUBLISHED}
MARKERS = ("o", "D", "s", "^", "v", "P")
DOTTED = (0, (1, 2))
DASHED = (0, (4, 2))
"""Beyond the data."""
NO_LIMITS = (-math.inf, math.inf)
POINTS = 120
"""That a curve is drawn with."""
RESIDUALS = 0.24
"""Share of the panel's height for the residuals, with the gap above them."""


@dataclass(frozen=True)
class Sizes:
    """Means with their intervals, every seed, the chosen law with its band, and the other laws as thin lines.

    Solid within the sizes that were fitted, dashed beyond.
    """

    series: tuple[Series, ...]
    """Of one metric and one kind of size."""
    is_log: bool = True
    height: float = 4.5

    @property
    def metric(self) -> Metric:
        return self.series[0].metric

    @property
    def group(self) -> str:
        return self.series[0].group

    def draw(self, axes: "Axes") -> None:
        below = _split(axes)
        labels = [self._series(axes, below, one, marker) for one, marker in self._marked()]
        for part in (axes, below):
            self._across(part)
        if self.series[0].kind == "published" and axes.dataLim.y1 < 50:
            axes.set_ylim(0, 1.15 * max(axes.dataLim.y1, 1.0))  # the papers' clean accuracy is 18%
            axes.locator_params(axis="y", nbins=6)
        elif self.metric.is_rate:
            limit_rate(axes)
        axes.tick_params(axis="x", labelbottom=False)
        below.axhline(0, color=MUTED[0], lw=0.8, zorder=1)
        reach = max(map(abs, below.get_ylim()))
        below.set_ylim(-1.15 * reach, 1.15 * reach)
        below.locator_params(axis="y", nbins=3)
        below.set_title("mean minus law", loc="left", fontsize=7.5, color=MUTED[0], pad=2)
        below.set_xlabel(self._size_label, fontsize=9.5, labelpad=2)
        self._mark_end(axes)
        label_ends(axes, labels)

    def _marked(self) -> list[tuple[Series, str]]:
        """Only series of one color need markers to tell them apart."""
        seen: dict[str, int] = {}
        marked = []
        for one in self.series:
            index = seen.setdefault(one.kind, 0)
            seen[one.kind] += 1
            marked.append((one, MARKERS[index % len(MARKERS)]))
        return marked

    def _series(self, axes: "Axes", below: "Axes", one: Series, marker: str) -> Label:
        color, factor, levels = COLORS[one.kind][0], self.metric.scale, one.scaled.levels
        estimates = [estimate([curve[size] for curve in one.curves.values() if size in curve]) for size in levels.sizes]
        if len(one.curves) > 1:
            for curve in one.curves.values():
                sizes = [size for size in levels.sizes if size in curve]
                axes.plot(
                    sizes, [curve[size] * factor for size in sizes], "o", ms=2.6, mec="none", color=color, alpha=0.4
                )
            _bars(axes, levels.sizes, estimates, factor, color, (0.0, 100.0) if self.metric.is_rate else NO_LIMITS)
        means = [mean * factor for mean in levels.means]
        axes.plot(levels.sizes, means, marker, ms=5, color=color, zorder=4, clip_on=False)
        if one.kind == "published":  # several of one color are told apart by what joins their points
            axes.plot(levels.sizes, means, color=color, lw=0.7, ls=DOTTED, zorder=2)
        self._laws(axes, one, color)
        if one.scaled.fit is not None:
            residuals = [residual * factor for residual in one.scaled.residuals]
            below.plot(levels.sizes, residuals, marker, ms=3.6, color=color, zorder=4, clip_on=False)
            shifted = [
                Estimate(residual, e.half_width * factor, e.n) for residual, e in zip(residuals, estimates, strict=True)
            ]
            _bars(below, levels.sizes, shifted, 1.0, color)
        return self._label(one, color, means)

    def _laws(self, axes: "Axes", one: Series, color: str) -> None:
        """The chosen law with its band, solid over the data and dashed beyond; all others thin.

        Those that the data do not tell from the best go on beyond the data, too.
        """
        chosen, sizes, factor = one.scaled.fit, one.scaled.levels.sizes, self.metric.scale
        if chosen is None:
            return
        inside = _between(sizes[0], sizes[-1])
        ends = (min((*one.extrapolate_to, sizes[0])), sizes[0]), (sizes[-1], max((*one.extrapolate_to, sizes[-1])))
        beyond = [_between(low, high) for low, high in ends if low < high]
        equals = near_best(one.scaled.candidates)
        for other in one.scaled.candidates if one.kind != "published" else ():
            if other.fit is not None and other.fit is not chosen and other.errors:
                for part in (inside, *(beyond if other in equals else ())):
                    axes.plot(part, other.fit.predict(part) * factor, color=color, lw=0.6, alpha=0.5, zorder=2)
        axes.plot(inside, chosen.predict(inside) * factor, color=color, lw=2, zorder=3)
        for part in beyond:
            axes.plot(part, chosen.predict(part) * factor, color=color, lw=1.6, ls=DASHED, zorder=3)
        if one.scaled.bootstrap is not None:
            for part, alpha in ((inside, 0.16), *((part, 0.08) for part in beyond)):
                low, high = one.scaled.bootstrap.band(part)
                axes.fill_between(part, low * factor, high * factor, color=color, alpha=alpha, lw=0)

    def _label(self, one: Series, color: str, means: Sequence[float]) -> Label:
        text = one.name.replace(", ", ",\n")
        if one.kind != "published" and len(one.curves) == 1:
            text += ",\nsingle seed"
        end = means[-1]
        if one.scaled.fit is not None:
            far = max((*one.extrapolate_to, one.scaled.levels.sizes[-1]))
            end = float(one.scaled.fit.predict([far])[0]) * self.metric.scale
        return Label(text, color, end, "bold" if one.kind == "trial" else "normal")

    @property
    def _size_label(self) -> str:
        first = self.series[0]
        return f"{first.size_label} (published, one seed)" if first.kind == "published" else first.size_label

    @property
    def _read_off(self) -> tuple[float, ...]:
        """Sizes beyond the data, where there is a law to be read off."""
        return tuple(size for one in self.series if one.scaled.fit is not None for size in one.extrapolate_to)

    @property
    def _sizes(self) -> list[float]:
        return sorted({size for one in self.series for size in one.scaled.levels.sizes})

    def _across(self, axes: "Axes") -> None:
        """The axis of sizes: a tick at each, those read off beyond the data included."""
        ticks = sorted({*self._sizes, *self._read_off})
        is_log = self.is_log and ticks[0] > 0
        axes.set_xscale("log" if is_log else "linear")
        places = [math.log(tick) for tick in ticks] if is_log else ticks
        room = 0.06 * ((places[-1] - places[0]) or 1.0)
        ends = places[0] - room, places[-1] + room
        axes.set_xlim(*(map(math.exp, ends) if is_log else ends))
        axes.set_xticks(ticks, [compact(tick) for tick in ticks], rotation=30 if len(ticks) > 8 else 0)
        axes.set_xticks([], minor=True)

    def _mark_end(self, axes: "Axes") -> None:
        """Where the data end."""
        largest, far = self._sizes[-1], max(self._read_off, default=0.0)
        if far > largest:
            axes.axvline(largest, color=MUTED[0], lw=0.8, ls=DOTTED, zorder=1)
            axes.annotate(
                f"×{far / largest:.3g} beyond", (largest, 1), xytext=(4, -2), xycoords=axes.get_xaxis_transform(),
                textcoords="offset points", fontsize=7.5, color=MUTED[0], va="bottom", annotation_clip=False,
            )  # fmt: skip


def size_panels(results: Results, series: Sequence[Series]) -> list[Sizes]:
    """A panel for each metric and kind of size."""
    is_log = results.study.scaling is None or results.study.scaling.log_axis
    groups: dict[tuple[str, str], list[Series]] = {}
    for one in series:
        groups.setdefault((one.metric.name, one.group), []).append(one)
    return [Sizes(tuple(group), is_log) for group in groups.values()]


def compact(size: float) -> str:
    """``300``, ``10K``, ``1.5M``."""
    for unit, factor in (("B", 1e9), ("M", 1e6), ("K", 1e4)):
        if size >= factor:
            return f"{size / (1e3 if unit == 'K' else factor):.3g}{unit}"
    return show_level(size)


def _between(low: float, high: float) -> list[float]:
    return [low * (high / low) ** (index / (POINTS - 1)) for index in range(POINTS)]


def _bars(
    axes: "Axes",
    sizes: Sequence[float],
    estimates: Sequence[Estimate],
    factor: float,
    color: str,
    limits: tuple[float, float] = NO_LIMITS,
) -> None:
    """Intervals, cut off at limits; a single seed has none."""
    for size, e in zip(sizes, estimates, strict=True):
        if not math.isnan(e.half_width):
            low, high = max(e.low * factor, limits[0]), min(e.high * factor, limits[1])
            axes.vlines(size, low, high, color=color, lw=1.1, alpha=0.8, zorder=3)


def _split(axes: "Axes") -> "Axes":
    """Make room below for the residuals; returns their axes."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    box = axes.get_position()
    axes.set_position((box.x0, box.y0 + RESIDUALS * box.height, box.width, (1 - RESIDUALS) * box.height))
    return figure.add_axes((box.x0, box.y0, box.width, (RESIDUALS - 0.05) * box.height))
