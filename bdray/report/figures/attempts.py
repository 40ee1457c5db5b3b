"""How a search got better over its trials: hypervolume, or the best value of a single objective."""

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from bdray.report.figures.colors import MEASURED, MEASURED_BAR, MUTED, VICTIM
from bdray.report.figures.labels import Label, label_ends
from bdray.report.figures.numbers import write_numbers
from bdray.report.figures.sheet import Frame
from bdray.report.searches.points import Searched
from bdray.report.study import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

X_LABEL = "number of the trial"


@dataclass(frozen=True)
class Growth:
    """Hypervolume after each trial; dots are the trials that are on the front now."""

    found: Searched
    frame: Frame = Frame(width=4.2, height=3.9)
    title: str = "Hypervolume over trials"
    subtitle: str = "share of a point as good as the best in everything"

    def draw(self, axes: "Axes") -> None:
        shares = [(number, 100 * share) for number, share in self.found.hypervolumes()]
        numbers, values = [number for number, _ in shares], [value for _, value in shares]
        _steps(axes, numbers, values)
        front = {tried.number for tried in self.found.front}
        joined = [place for place in shares if place[0] in front]
        axes.plot(*zip(*joined, strict=True), ls="none", marker="o", ms=4.5, color=MEASURED[0], mec="none", zorder=4)
        axes.set_ylim(0, 104)
        axes.set_yticks(range(0, 101, 20), [f"{value}%" for value in range(0, 101, 20)])
        _number_axis(axes, self.found)


@dataclass(frozen=True)
class BestSoFar:
    """Every trial of a search of one objective, and the best up to each."""

    found: Searched
    frame: Frame = Frame(width=5.5, height=4.2, left=0.6, right=1.1, bottom=0.85)
    title: str = "Best so far over trials"

    @property
    def metric(self) -> Metric:
        return self.found.objectives[0]

    @property
    def subtitle(self) -> str:
        return f"{self.metric.heading}, {'lower' if self.metric.goal == 'min' else 'higher'} is better"

    def draw(self, axes: "Axes") -> None:
        found, scale = self.found, self.metric.scale
        places = {tried.number: tried.values[0].mean * scale for tried in found.complete}
        broken = [(tried.number, places[tried.number]) for tried in found.complete if not tried.is_feasible]
        kept = [(tried.number, places[tried.number]) for tried in found.feasible]
        front = [(tried.number, places[tried.number]) for tried in found.front]
        groups = (
            (broken, "breaks a constraint", MUTED[0], "none"),
            (kept, "finished", MEASURED_BAR[0], MEASURED_BAR[0]),
        )
        for group, name, edge, face in (*groups, (front, "best", MEASURED[0], MEASURED[0])):
            if group:
                axes.plot(
                    *zip(*group, strict=True), ls="none", marker="o", ms=5.5, mec=edge, mfc=face, mew=1.1, label=name
                )
        for tried in found.complete:
            if tried.values[0].n > 1:
                low, high = tried.values[0].low * scale, tried.values[0].high * scale
                axes.vlines(tried.number, low, high, color=MEASURED_BAR[0], lw=0.8, zorder=1)
        best = list(accumulate((value for _, value in kept), min if self.metric.goal == "min" else max))
        if best:
            _steps(axes, [number for number, _ in kept], best)
        _number_axis(axes, found)
        labels = []
        for victim in found.victims[:1] if len(found.victims) == 1 else ():
            axes.axhline(victim[0].mean * scale, color=VICTIM[0], lw=1.2, ls=(0, (1, 2)), zorder=1)
            labels.append(Label("victim,\nno defense", VICTIM[0], victim[0].mean * scale))
        axes.legend(
            loc="upper left", bbox_to_anchor=(-0.02, -0.17), ncols=3, frameon=False, fontsize=8.5, handletextpad=0.2,
            borderaxespad=0,
        )  # fmt: skip
        others = [place for place in (*broken, *kept) if place not in front]
        write_numbers(
            axes,
            front,
            [str(number) for number, _ in front],
            others,
            MEASURED[0],
            -60 if self.metric.goal == "min" else 120,
        )
        label_ends(axes, labels)


def _steps(axes: "Axes", numbers: list[int], values: list[float]) -> None:
    axes.plot(numbers, values, color=MEASURED[0], lw=1.8, drawstyle="steps-post", zorder=3)


def _number_axis(axes: "Axes", found: Searched) -> None:
    from matplotlib.ticker import MaxNLocator

    numbers = [tried.number for tried in (*found.complete, *found.partial)] + list(found.pruned.values())
    axes.set_xlim(min(numbers) - 0.6, max(numbers) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel(X_LABEL, fontsize=9, labelpad=3)
