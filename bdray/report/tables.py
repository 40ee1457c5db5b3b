"""The summary of a study: one row per axis value and one for the victims, beside the published numbers."""

import html
import math
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from bdray.report import latex, sampling
from bdray.report.captions import caption_of
from bdray.report.intervals import few_seeds_note
from bdray.report.results import NUMBER, Results
from bdray.report.statistics import Estimate, estimate
from bdray.report.study import DASH, Axis, Metric, Point

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from bdray.report.searches.points import Searched, Tried

VICTIM_LABEL = "victim (no defense)"
TRIAL_LABEL = {True: "defended", False: "victim"}
"""What a trial's model is, by whether it was defended."""
PUBLISHED = " published"
MAX_ROWS = 40
"""Of a search on a terminal."""
NO_BREAK = "\u00a0"


@dataclass(frozen=True)
class Cell:
    """One metric at one point."""

    measured: Estimate
    published: float
    """NaN if the papers print nothing here."""
    sampled: tuple[float, float] | None = None
    """Wilson's interval of a single seed's rate, for the sampling of images; None if it is not known."""


@dataclass(frozen=True)
class Row:
    """One point of the study, or one victim."""

    point: Point
    names: tuple[str, ...]
    """One printed value per axis; in a victim's row the first says that it is one."""
    seeds: int
    """Finished models behind the row."""
    cells: tuple[Cell, ...]
    """One per metric of the study."""
    is_victim: bool = False
    number: int | None = None
    """In a search, the place in the order in which it asked for points."""
    standing: str = ""
    """In a search, whether the point is on the front or keeps the constraints."""


@dataclass(frozen=True)
class Summary:
    """A study's result table, and how it is written in each medium."""

    title: str
    caption: str
    axes: tuple[Axis, ...]
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    note: str = ""
    """What to keep in mind where there are few seeds."""
    is_search: bool = False
    """Whether the points have numbers and a standing."""
    knobs_together: bool = False
    """Whether a search's knobs share a column on a terminal."""

    @property
    def header(self) -> list[str]:
        """Names of the printed columns; a metric that no paper printed has no column for it."""
        names = [axis.label for axis in self.axes] or ["model"]
        for index, metric in enumerate(self.metrics):
            names.append(f"{metric.heading} {metric.arrow}")
            if self._has_published[index]:
                names.append(f"{metric.label}{PUBLISHED}")
        return ["trial", *names, "seeds", "standing"] if self.is_search else [*names, "seeds"]

    def lines(self) -> list[list[str]]:
        """The printed cells, row by row."""
        return [self._line(row) for row in self.rows]

    def to_frame(self) -> "pd.DataFrame":
        """The numbers behind the table: rates are fractions, missing values NaN."""
        import pandas as pd

        records = []
        for row in self.rows:
            record: dict[str, object] = {"role": "victim" if row.is_victim else "trial"}
            record |= {axis.field: level for axis, level in zip(self.axes, row.point, strict=True)}
            record["seeds"] = row.seeds
            record |= {NUMBER: row.number, "standing": row.standing} if self.is_search else {}
            for index, (metric, cell) in enumerate(zip(self.metrics, row.cells, strict=True)):
                record[f"{metric.name}_mean"] = cell.measured.mean
                record[f"{metric.name}_half_interval"] = cell.measured.half_width
                record[f"{metric.name}_low"], record[f"{metric.name}_high"] = cell.measured.low, cell.measured.high
                record[f"{metric.name}_n"] = cell.measured.n
                if any(other.cells[index].sampled for other in self.rows):
                    sampled = cell.sampled or (math.nan, math.nan)
                    record[f"{metric.name}_wilson_low"], record[f"{metric.name}_wilson_high"] = sampled
                record[f"{metric.name}_published"] = cell.published
            records.append(record)
        return pd.DataFrame(records)

    def fit(self, width: int) -> "Summary":
        """The same table with its first metrics only, as many as fit into so many characters; two at least.

        Of a search only the first points, which are the best.
        """
        if self.is_search and len(self.rows) > MAX_ROWS:
            caption = f"{self.caption} {len(self.rows) - MAX_ROWS} more points are in the report."
            return replace(self, rows=self.rows[:MAX_ROWS], caption=caption).fit(width)
        for count in range(len(self.metrics), min(2, len(self.metrics)), -1):
            if (table := self._first(count)).width <= width:
                return table
        table = self._first(2)
        if not self.is_search or table.width <= width:
            return table
        order = f"Knobs: {', '.join(axis.label for axis in self.axes)}."
        return replace(table, knobs_together=True, caption=f"{order} {table.caption}")

    @property
    def width(self) -> int:
        """Characters of a line on a terminal, with two between columns; a heading may break before `published`."""
        from rich.cells import cell_len

        heads = [name.removesuffix(PUBLISHED) for name in self.header]
        return sum(max(map(cell_len, column)) + 2 for column in zip(heads, *self.lines(), strict=True))

    def to_rich(self) -> "Table":
        """For the terminal."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=Text(self.title),
            caption=Text(self.caption),
            title_style="bold",
            title_justify="left",
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            padding=(0, 1, 0, 0),
        )
        header, lines = self._with_knobs_together() if self.knobs_together else (self.header, self.lines())
        for index, name in enumerate(header):
            is_key = index < self._keys
            is_knob = self.is_search and 0 < index <= (1 if self.knobs_together else len(self.axes))
            table.add_column(
                Text(name.replace(PUBLISHED, f"\n{PUBLISHED.strip()}")),
                justify="left" if is_key or (self.knobs_together and is_knob) else "right",
                no_wrap=self.is_search if is_key else not is_knob,
                vertical="bottom",
            )
        for row, line in zip(self.rows, lines, strict=True):
            table.add_row(
                *map(Text, line), style="dim" if row.is_victim else None, end_section=row is self._last_victim
            )
        return table

    def to_html(self) -> str:
        """A ``<table>``; everything in it is escaped."""
        marks = [' class="published"' if name.endswith(PUBLISHED) else "" for name in self.header]
        head = "".join(
            f'<th scope="col"{mark}>{html.escape(re.sub(" (?=[↑↓])", NO_BREAK, name))}</th>'
            for name, mark in zip(self.header, marks, strict=True)
        )
        body = ""
        for row, line in zip(self.rows, self.lines(), strict=True):
            cells = "".join(
                f'<th scope="row">{html.escape(text)}</th>'
                if index < self._keys
                else f"<td{mark}>{html.escape(text)}</td>"
                for index, (text, mark) in enumerate(zip(line, marks, strict=True))
            )
            body += f'<tr class="victim">{cells}</tr>\n' if row.is_victim else f"<tr>{cells}</tr>\n"
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"

    def to_latex(self) -> str:
        """A ``table`` for a paper; needs the package booktabs."""
        return latex.table(
            f"{self.title}. {self.caption}",
            self.header,
            self.lines(),
            keys=self._keys,
            rule_after=sum(row.is_victim for row in self.rows),
        )

    def _with_knobs_together(self) -> tuple[list[str], list[list[str]]]:
        """Header and lines with one column for all knobs, in the order that the caption says."""
        last, header = 1 + len(self.axes), self.header
        lines = [[line[0], " · ".join(line[1:last]).strip(f" ·{DASH}"), *line[last:]] for line in self.lines()]
        return [header[0], "knobs", *header[last:]], lines

    def _first(self, count: int) -> "Summary":
        left_out = [metric.label for metric in self.metrics[count:]]
        if not left_out:
            return self
        rows = tuple(replace(row, cells=row.cells[:count]) for row in self.rows)
        caption = f"{self.caption} Too wide for this terminal: {', '.join(left_out)}; the report has them."
        return replace(self, metrics=self.metrics[:count], rows=rows, caption=caption)

    @property
    def _keys(self) -> int:
        return 1 if self.is_search else max(len(self.axes), 1)

    @property
    def _last_victim(self) -> Row | None:
        victims = [row for row in self.rows if row.is_victim]
        return victims[-1] if victims else None

    @cached_property
    def _has_published(self) -> list[bool]:
        """Of each metric: whether any row has a number of the papers."""
        return [
            any(not math.isnan(row.cells[index].published) for row in self.rows) for index in range(len(self.metrics))
        ]

    def _line(self, row: Row) -> list[str]:
        line = list(row.names)
        for index, (metric, cell) in enumerate(zip(self.metrics, row.cells, strict=True)):
            text = metric.show_estimate(cell.measured)
            text += f" {metric.show_bounds(cell.sampled)}" if cell.sampled else ""
            line.append(f"{text} (n = {cell.measured.n})" if 0 < cell.measured.n < row.seeds else text)
            if self._has_published[index]:
                line.append(metric.show(cell.published))
        return [*line, str(row.seeds), *([row.standing] if self.is_search else [])]


def summarize(results: Results) -> Summary:
    """Average a study over its seeds. Planned points without a result are rows of dashes."""
    study = results.study
    rows = [_row(results, point, is_victim=True) for point in results.victim_points()]
    if results.searched:
        rows = [replace(row, names=("victim", *_levels(results, row.point))) for row in rows]
        rows += [_searched_row(results, results.searched, tried) for tried in results.searched.ordered]
    else:
        rows += [_row(results, point, is_victim=False) for point in results.points()]
    return Summary(
        is_search=results.searched is not None,
        title=study.title,
        caption=caption_of([row.seeds for row in rows], study.interval, is_sampled=_is_sampled(rows)),
        note=few_seeds_note([cell.measured.n for row in rows for cell in row.cells]),
        axes=tuple(study.axes),
        metrics=tuple(study.metrics),
        rows=tuple(rows),
    )


def _row(results: Results, point: Point, *, is_victim: bool) -> Row:
    models = results.at(results.victims if is_victim else results.trials, point)
    cells = []
    for metric in results.study.metrics:
        printed = results.published_at(point, metric.name, is_victim=is_victim)
        cells.append(
            Cell(
                estimate(list(models[metric.name]), results.study.interval),
                math.nan if printed is None else printed.value,
                sampling.image_interval(models, metric.name),
            )
        )
    shown = _levels(results, point)
    if is_victim:
        shown = [VICTIM_LABEL if shown[:1] in ([], [DASH]) else f"{shown[0]}, {VICTIM_LABEL}", *shown[1:]]
    return Row(point, tuple(shown) or (TRIAL_LABEL[results.has_defense],), len(models), tuple(cells), is_victim)


def _searched_row(results: Results, found: "Searched", tried: "Tried") -> Row:
    row = _row(results, tried.point, is_victim=False)
    names = (str(tried.number), *_levels(results, tried.point))
    return replace(row, names=names, number=tried.number, standing=found.standing(tried))


def _levels(results: Results, point: Point) -> list[str]:
    return [DASH if level is None else axis.show(level) for axis, level in zip(results.study.axes, point, strict=True)]


def _is_sampled(rows: list[Row]) -> bool:
    return any(cell.sampled for row in rows for cell in row.cells)
