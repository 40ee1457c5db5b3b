"""How the points of a study differ from one they are measured by, paired by seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bdray.report import latex
from bdray.report.captions import KINDS
from bdray.report.intervals import few_seeds_note
from bdray.report.references import Reference, references
from bdray.report.results import Results
from bdray.report.significance import Contrast, holm, paired_test
from bdray.report.study import DASH, Metric, Point

if TYPE_CHECKING:
    import pandas as pd

MAX_METRICS = 2
"""As in the figure: the attack and its price."""
HEADER = ("95% interval", "seeds", "p", "p (Holm)", "in seed SDs", "verdict")
"""Columns of a printed table, behind the difference itself."""
LEVEL = 0.05


@dataclass(frozen=True)
class Row:
    """One point against its reference."""

    name: str
    point: Point
    contrast: Contrast
    p_holm: float

    @property
    def verdict(self) -> str:
        """In words, whether the difference is more than noise, also among so many."""
        return judge(self.contrast, self.p_holm)


@dataclass(frozen=True)
class Differences:
    """All points of a study against their references, in one metric."""

    metric: Metric
    reference: str
    """Its name for people."""
    rows: tuple[Row, ...]
    missing: int
    """Points without a seed in common with their reference."""
    caption: str

    @cached_property
    def num_tests(self) -> int:
        """P-values that Holm's adjustment counts."""
        return sum(not math.isnan(row.contrast.p) for row in self.rows)

    @property
    def header(self) -> list[str]:
        """Names of the printed columns."""
        unit = self.metric.step_unit.strip()
        return ["", f"difference ({unit})" if unit else "difference", *HEADER]

    def lines(self) -> list[list[str]]:
        """The printed cells, row by row."""
        return [[row.name, *cells(self.metric, row.contrast, row.p_holm)] for row in self.rows]

    def to_latex(self) -> str:
        """A ``table`` for a paper."""
        caption = f"{self.metric.label}: {len(self.rows)} differences from {self.reference}. {self.caption}"
        return latex.table(caption, self.header, self.lines(), keys=1)

    def summary(self) -> str:
        """One sentence: how many differences are beyond seed noise, before and after adjustment for their number."""
        judged = [row for row in self.rows if not math.isnan(row.contrast.difference.half_width)]
        if len(judged) < 2:
            return ""
        beyond = sum(row.contrast.difference.excludes_zero for row in judged)
        text = (
            f"Paired by seed, {self.metric.label} differs from that of {self.reference} beyond seed noise (a 95% "
            f"interval without zero) in {beyond} of {len(judged)} comparisons"
        )
        if self.num_tests > 1:
            kept = sum(row.p_holm < LEVEL for row in self.rows)
            text += (
                f"; adjusted for their number (Holm, {self.num_tests} tests), in {kept} of them p stays below {LEVEL}"
            )
        return f"{text}."


def differences(results: Results) -> list[Differences]:
    """A table for each of the study's first metrics, as far as there is anything to compare.

    None for a search: its points were chosen by their results, which no interval of these results allows for.
    """
    study = results.study
    if study.search is not None or not all(axis.values for axis in study.axes) or results.trials.empty:
        return []
    metrics = [metric for metric in study.metrics[:MAX_METRICS] if not metric.is_of_trigger]
    found = [_of_metric(results, metric) for metric in metrics]
    return [table for table in found if table is not None]


def to_frame(tables: Sequence[Differences], results: Results) -> "pd.DataFrame":
    """The numbers behind the tables, in the data's units."""
    import pandas as pd

    fields = [axis.field for axis in results.study.axes]
    return pd.DataFrame(
        {
            **dict(zip(fields, row.point, strict=True)),
            "reference": table.reference,
            "metric": table.metric.name,
            "difference": row.contrast.difference.mean,
            "low": row.contrast.difference.low,
            "high": row.contrast.difference.high,
            "n": row.contrast.difference.n,
            "p": row.contrast.p,
            "p_holm": row.p_holm,
            "num_tests": table.num_tests,
            "seed_deviation": row.contrast.noise,
            "effect": row.contrast.effect,
            "verdict": row.verdict,
        }
        for table in tables
        for row in table.rows
    )


def cells(metric: Metric, contrast: Contrast, p_holm: float) -> list[str]:
    """A difference as printed, and what :data:`HEADER` names; no p-value without its number of seeds beside it."""
    found = contrast.difference
    has_interval = not math.isnan(found.half_width)
    return [
        metric.show_step(found.mean) if found.n else DASH,
        f"{metric.show_step(found.low)} to {metric.show_step(found.high)}" if has_interval else DASH,
        str(found.n),
        show_p(contrast.p),
        show_p(p_holm),
        DASH if math.isnan(contrast.effect) else f"{contrast.effect:+.1f}".replace("-", "−"),
        judge(contrast, p_holm),
    ]


def judge(contrast: Contrast, p_holm: float) -> str:
    """``beyond seed noise``, unless that is what one expects among so many comparisons."""
    is_lost = contrast.difference.excludes_zero and p_holm >= LEVEL
    return f"{contrast.verdict}, but not after Holm" if is_lost else contrast.verdict


def show_p(p: float) -> str:
    """``0.031``, ``< 0.001``."""
    return DASH if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _of_metric(results: Results, metric: Metric) -> Differences | None:
    """Against the first of the possible references that has the metric at all."""
    for reference in references(results):
        points = [point for point in results.points() if reference.axis is None or reference.of(point) != point]
        pairs = [(point, _contrast(results, metric, point, reference)) for point in points]
        known = [(point, contrast) for point, contrast in pairs if contrast.difference.n]
        if known:
            adjusted = holm([contrast.p for _, contrast in known])
            rows = [
                Row(results.show(point) or "trial", point, contrast, p)
                for (point, contrast), p in zip(known, adjusted, strict=True)
            ]
            return Differences(
                metric, reference.name(results), tuple(rows), len(pairs) - len(known), _caption(results, rows)
            )
    return None


def _contrast(results: Results, metric: Metric, point: Point, reference: Reference) -> Contrast:
    after = _by_seed(results.at(results.trials, point), metric)
    if reference.axis is None:
        matching = [
            victim
            for victim in results.victim_points()
            if all(own is None or own == level for own, level in zip(victim, point, strict=True))
        ]
        frames = [results.at(results.victims, victim) for victim in matching]
        before = {seed: value for frame in frames for seed, value in _by_seed(frame, metric).items()}
    else:
        before = _by_seed(results.at(results.trials, reference.of(point)), metric)
    return paired_test(before, after, results.study.interval)


def _by_seed(rows: "pd.DataFrame", metric: Metric) -> dict[int, float]:
    pairs = zip(rows["seed"], rows[metric.name], strict=True)
    return {int(seed): float(value) for seed, value in pairs if not math.isnan(value)}


def _caption(results: Results, rows: Sequence[Row]) -> str:
    """What the columns mean, and what they do not know."""
    counts = [row.contrast.difference.n for row in rows]
    parts = [
        f"Paired by seed; {KINDS[results.study.interval]}, p of the paired t-test.",
        "In seed SDs: the difference over the standard deviation of seeds, pooled over both sides.",
    ]
    if sum(not math.isnan(row.contrast.p) for row in rows) > 1:
        parts.append("p (Holm) keeps the chance of any false claim among all comparisons of a table at 5%.")
    if 1 in counts:
        parts.append("A single seed has neither interval nor p.")
    if any(n > 1 and math.isnan(row.contrast.p) for n, row in zip(counts, rows, strict=True)):
        parts.append("Nor is there a p where the difference is the same with every seed.")
    if results.study.settings.get("pretrain"):
        parts.append("All seeds start from one clean base, whose own variation is in no interval.")
    return " ".join(filter(None, [*parts, few_seeds_note(counts)]))
