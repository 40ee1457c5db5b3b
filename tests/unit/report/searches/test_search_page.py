import math
import random
import re
from collections.abc import Callable
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.lines import Line2D
from rich.console import Console

from bdray.report import Report, build, figures, html
from bdray.report.figures.attempts import BestSoFar, Growth
from bdray.report.figures.pareto import ParetoPlot
from bdray.report.figures.searches import main_drawing
from bdray.report.figures.trajectories import Trajectories
from bdray.report.results import Results, load
from bdray.report.tables import summarize
from tests.unit.report.searches.conftest import ASR, AXES, CA, METRICS, Searches, search_row, victim_row, write_search

Load = Callable[..., Results]
CONSTRAINT = {"search": {"type": "optuna, tpe", "num_points": 24, "constraints": [{"metric": CA, "max_loss": 0.1}]}}


def cloud(count: int = 12) -> list[dict[str, Any]]:
    """A victim, points between high ASR with high CA and the opposite, and one that was stopped early."""
    rng = random.Random(3)
    rows = [victim_row()]
    for number in range(count):
        asr = rng.uniform(0, 0.9)
        rows.append(search_row(number, asr, 0.75 + 0.15 * math.sqrt(asr) + rng.uniform(-0.05, 0)))
    return [*rows, search_row(count, "", "", status="pruned")]


def data(line: Line2D) -> tuple[list[float], list[float]]:
    """What a line was drawn from."""
    x, y = np.asarray(line.get_xydata()).T
    return x.tolist(), y.tolist()


def by_epoch(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("key", "role", "seed", *(axis["field"] for axis in AXES))
    return [
        {name: row[name] for name in names} | {"epoch": epoch, ASR: 0.9 / epoch, CA: 0.8}
        for row in rows
        for epoch in range(1, 2 if row["status"] == "pruned" else 4)
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Of a half-finished search, for reading only."""
    rows, folder = cloud(), tmp_path_factory.mktemp("report") / "search"
    return build(write_search(folder, rows, by_epoch(rows), planned_trials=24, **CONSTRAINT))


def test_every_figure_is_written(report: Report) -> None:
    kinds = ("png", "svg", "pdf")
    wanted = {
        f"{name}.{kind}"
        for name in ("figure", "hypervolume", "importances", "slices", "learning_curves")
        for kind in kinds
    }
    names = {path.name for path in report.files}
    assert wanted <= names
    assert all(path.stat().st_size > 300 for path in report.files)


def test_the_page_stands_alone(report: Report) -> None:
    text = report.page.read_text(encoding="utf-8")
    ids = re.findall(r'\sid="([^"]+)"', text)
    # all figures on one page, none needing another's glyphs or anything from outside
    assert len(ids) == len(set(ids))
    assert not re.search(r"<script|<link|<img|<image|https?://", text.replace("http-equiv", ""))
    # drawn colors follow the page's
    assert "var(--c0a66b0)" in text


def test_the_page_says_what_it_shows(report: Report) -> None:
    text = report.page.read_text(encoding="utf-8")
    for needed in (
        "12 of 24 trials done, 1 stopped early",
        "Missing: 11 of 24 points.",
        "Pareto front",
        "1 point stopped early is not shown.",
        "A single seed each, so without intervals over seeds.",
        "by PED-ANOVA",
        "measured from ASR 98.0%",
    ):
        assert needed in text.replace("\n", " ")


def test_the_table_has_the_front_first(report: Report) -> None:
    folder = report.page.parent
    table = pd.read_csv(folder / "table.csv")
    trials = table[table["role"] == "trial"]
    order = ["front", "feasible", "infeasible"]
    # every kind is there, in this order, and the front from its lowest ASR on
    assert list(dict.fromkeys(trials["standing"])) == order
    front = trials[trials["standing"] == "front"][f"{ASR}_mean"]
    assert list(front) == sorted(front)
    assert report.summary.header[0] == "trial"
    assert report.summary.lines()[0][0] == "victim"
    # numbers are the search's
    assert set(trials["number"]) == set(range(12))


def test_a_terminal_shows_the_first_points_only(searches: Searches) -> None:
    summary = summarize(load(searches([search_row(n, 0.01 * n, 0.9 - 0.001 * n) for n in range(60)])))
    shown = summary.fit(200)
    assert (len(summary.rows), len(shown.rows)) == (60, 40)
    assert "20 more points are in the report." in shown.caption
    # the number of a trial is whole even where there is little room
    assert shown.fit(60).rows == shown.rows


def test_many_knobs_share_a_column_of_a_narrow_terminal(searches: Searches) -> None:
    rows = [victim_row(), *(search_row(number, 0.01 * number, 0.9) for number in range(3))]
    summary = summarize(load(searches(rows)))

    def printed(width: int) -> str:
        console = Console(width=width, file=StringIO())
        console.print(summary.fit(width).to_rich())
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        return text

    # With room each has a column, and without the caption says which is which.
    assert "knobs" not in printed(200)
    narrow = printed(60)
    assert f"Knobs: {', '.join(axis.label for axis in summary.axes)}." in " ".join(narrow.split())
    assert re.search(r"0\.125 · 0\.0017 ·.*cosine · 1 ", " ".join(narrow.split()))
    # A victim has none.
    assert re.search(r"victim +98\.0", narrow)


def test_what_was_stopped_early_ends_with_a_cross(searches: Searches) -> None:
    rows = cloud()
    results = load(searches(rows, by_epoch(rows)))
    panels = figures.learning_panels(results)
    assert [type(panel) for panel in panels] == [Trajectories, Trajectories]
    axes = figures.compose(panels).axes[0]
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    # after its only epoch
    assert [data(line)[0] for line in crosses] == [[1.0]]


def test_a_search_has_no_bars_and_no_differences(searches: Searches, report: Report) -> None:
    assert figures.result_panels(load(report.page.parent)) == []
    assert not any("differences" in path.name for path in report.files)


def test_points_far_away_stand_at_the_border(results: Load) -> None:
    rows = [search_row(n, 0.3 + 0.01 * n, 0.8 + 0.005 * n) for n in range(10)]
    found = results(*rows, search_row(10, 0.0, 0.05), victim_row(asr=0.99)).searched
    assert found is not None
    axes = figures.compose_sheet([ParetoPlot(found)]).axes[0]
    bottom, top = axes.get_ylim()
    # the collapsed one does not squeeze the others, nor does the victim; both are still seen
    assert bottom > 70
    drawn = [place for line in axes.lines if line.get_marker() in ("D", "X") for place in zip(*data(line), strict=True)]
    assert len(drawn) == 2
    (left, right) = axes.get_xlim()
    assert all(x in (left, right) or y in (bottom, top) for x, y in drawn)
    assert any("ASR 99.0%" in text.get_text() for text in axes.texts)


def test_constraints_are_shaded(results: Load) -> None:
    found = results(*cloud(), **CONSTRAINT).searched
    assert found is not None
    axes = figures.compose_sheet([ParetoPlot(found)]).axes[0]
    # 10 points below the victim's 90%
    assert any(data(line)[1] == pytest.approx([80, 80]) for line in axes.lines if line.get_linestyle() == "--")
    assert any(text.get_text() == "CA ≥ 80.0%" for text in axes.texts)


@pytest.mark.parametrize(
    "metrics", [METRICS[:1], METRICS, [*METRICS, {"name": "train_seconds", "label": "time", "goal": "min"}]]
)
def test_one_objective_and_many(searches: Searches, metrics: list[dict[str, Any]]) -> None:
    rows = [row | {"train_seconds": row["number"] or 1} for row in cloud()]
    results = load(searches(rows, metrics=metrics))
    assert results.searched is not None
    assert type(main_drawing(results.searched)) is (BestSoFar if len(metrics) == 1 else ParetoPlot)
    text = html.render(results, summarize(results), [], [])
    assert text.count("What decides") == len(metrics)
    assert ("Hypervolume over trials" in text) == (len(metrics) > 1)


def test_the_best_so_far_never_gets_worse(results: Load) -> None:
    found = results(*cloud(), metrics=METRICS[:1]).searched
    assert found is not None
    axes = figures.compose_sheet([BestSoFar(found)]).axes[0]
    (steps,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    values = data(steps)[1]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(100 * found.front[0].values[0].mean)


def test_growth_marks_the_front(results: Load) -> None:
    found = results(*cloud()).searched
    assert found is not None
    axes = figures.compose_sheet([Growth(found)]).axes[0]
    (dots,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert set(data(dots)[0]) == {tried.number for tried in found.front}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_search_that_has_just_begun(searches: Searches, count: int) -> None:
    rows = [victim_row(), *(search_row(number, 0.5, 0.9) for number in range(count))]
    report = build(searches(rows, planned_trials=24))
    text = report.page.read_text(encoding="utf-8")
    assert f"{count} of 24 trials done" in text
    assert f"Missing: {24 - count} of 24 points." in text


def test_only_undecided_points(searches: Searches) -> None:
    rows = [search_row(0, 0.5, 0.9), search_row(1, "", "", status="pruned", seed=1)]
    report = build(searches(rows, seeds=[0, 1], planned_trials=48))
    # nothing to draw, and it is said what lacks
    assert "Missing: trial 0, seed 1; 22 of 24 points." in report.page.read_text(encoding="utf-8")


def test_untrusted_names_are_escaped(searches: Searches) -> None:
    evil = "<script>alert(1)</script>"
    axes = [axis | {"label": evil} for axis in AXES]
    results = load(searches(cloud(), axes=axes, search={"type": evil, "stopping": evil, "num_points": 3}))
    assert "<script" not in html.render(results, summarize(results), [], [])
