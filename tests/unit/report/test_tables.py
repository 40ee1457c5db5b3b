from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bdray.report.results import load
from bdray.report.tables import Summary, summarize

Write = Callable[..., Path]
Row = Callable[..., dict[str, Any]]


@pytest.fixture
def tiny(write: Write, model_row: Row) -> Summary:
    """Two seeds at λ₂ = 0, one at 1, none at 2."""
    models = [
        model_row("victim", 0, None, 0.9, 0.95),
        model_row("victim", 1, None, 1.0, 0.95),
        model_row("trial", 0, 0, 0.4, 0.9),
        model_row("trial", 1, 0, 0.6, 0.9),
        model_row("trial", 0, 1, 0.0, 0.85),
    ]
    axes = [{"field": "defense.in_modal_weight", "label": "λ₂", "values": [0, 1, 2]}]
    return summarize(load(write({"axes": axes, "seeds": [0, 1], "planned_trials": 6}, models, [])))


def test_printed_table(tiny: Summary) -> None:
    # t(0.975, 1) = 12.7062: 0.1 · 12.7062 / 2 · √2 · … = 127.1 and 63.5 points; a measured zero stays one, missing is –
    assert [tiny.header, *tiny.lines()] == [
        ["λ₂", "ASR@1 (%) ↓", "ASR@1 published", "CA@1 (%) ↑", "CA@1 published", "seeds"],
        ["victim (no defense)", "95.0 ± 63.5", "99.5", "95.0 ± 0.0", "18.3", "2"],
        ["0", "50.0 ± 127.1", "99.0", "90.0 ± 0.0", "17.8", "2"],
        ["1", "0.0", "7.2", "85.0", "18.1", "1"],
        ["2", "–", "4.3", "–", "17.8", "0"],
    ]
    assert tiny.caption == "Mean over seeds ± half of the 95% t-interval. A single seed has no interval."


def test_frame_holds_fractions(tiny: Summary) -> None:
    frame = tiny.to_frame()
    # numbers for other programs: fractions, axis values as they are, empty where nothing is
    assert frame["attack_success_rate_top1_mean"].tolist()[:3] == [0.95, 0.5, 0.0]
    assert frame["defense.in_modal_weight"].tolist()[1:] == [0.0, 1.0, 2.0]
    assert frame["attack_success_rate_top1_mean"].isna().tolist() == [False, False, False, True]
    assert frame["attack_success_rate_top1_half_interval"].isna().tolist() == [False, False, True, True]


def test_latex(tiny: Summary) -> None:
    latex = tiny.to_latex()
    # symbols that LaTeX's text mode cannot print are spelled out
    assert r"$\lambda$$_2$ & ASR@1 (\%) $\downarrow$ & ASR@1 published" in latex
    assert r"    0 & 50.0 $\pm$ 127.1 & 99.0 & 90.0 $\pm$ 0.0 & 17.8 & 2 \\" in latex
    assert r"    2 & -- & 4.3 & -- & 17.8 & 0 \\" in latex


def test_latex_and_html_escape(write: Write) -> None:
    summary = summarize(load(write({"title": r"50% of $x_1$ \input{secret} <b>"})))
    # a title is text in every medium
    assert r"50\% of \$x\_1\$ \textbackslash{}input\{secret\} $<$b$>$" in summary.to_latex()
    axes = [{"field": "defense.in_modal_weight", "label": "<script>", "values": [0, 0.5, 1, 2, 4, 8]}]
    assert "<script>" not in summarize(load(write({"axes": axes}))).to_html()


def test_terminal_fits_80_columns(tiny: Summary) -> None:
    console = Console(width=80, file=StringIO())
    console.print(tiny.to_rich())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    # no cell is broken or cut, and the last column is there
    assert "victim (no defense)" in text
    assert "50.0 ± 127.1" in text
    assert "seeds" in text


def test_single_seed_says_so(write: Write, models: list[dict[str, Any]]) -> None:
    rows = [row for row in models if row["seed"] == 0]
    summary = summarize(load(write({"seeds": [0], "planned_trials": 6}, rows)))
    # no interval is invented
    assert summary.caption == "Single seed, so without intervals."
    assert not any("±" in cell for line in summary.lines() for cell in line)


def test_missing_metric_of_one_seed_shows_its_count(write: Write, models: list[dict[str, Any]]) -> None:
    rows = [row | {"clean_accuracy_top1": ""} if row["key"] == "trial-1-2" else row for row in models]
    line = summarize(load(write(models=rows))).lines()[3]
    # three models, but accuracy of two
    assert line[0] == "1"
    assert line[3].endswith("(n = 2)")
    assert line[5] == "3"


def test_units_and_decimals(overview: Callable[..., Path]) -> None:
    summary = summarize(load(overview()))
    printed = dict(zip(summary.header, summary.lines()[0], strict=True))
    # decibels with one decimal, the rest with three; the trigger is the same for all seeds, so it has no interval
    assert {name: printed[name] for name in ("PSNR (dB) ↑", "SSIM ↑", "L∞ ↓")} == {
        "PSNR (dB) ↑": "21.2",
        "SSIM ↑": "0.912",
        "L∞ ↓": "0.500",
    }
    assert printed["ASR@1 (%) ↑"] == "99.0 ± 12.7"
    # a study of attacks has no row for a victim beside its trials
    assert [line[0] for line in summary.lines()] == ["BadNet", "SIG", "WaNet"]
    # LaTeX has all metrics
    assert r"SSIM $\uparrow$ & L$\infty$ $\downarrow$ & seeds \\" in summary.to_latex()


@pytest.mark.parametrize(("width", "count"), [(20, 2), (60, 3), (80, 4), (300, 9)])
def test_terminal_shows_the_metrics_that_fit(overview: Callable[..., Path], width: int, count: int) -> None:
    summary = summarize(load(overview()))
    narrow = summary.fit(width)
    # the first ones, two at least, and the rest by name
    assert narrow.metrics == summary.metrics[:count]
    assert all(metric.label in narrow.caption for metric in summary.metrics[count:])
    console = Console(width=max(width, 60), file=StringIO())
    console.print(narrow.to_rich())
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    # no name, number or heading is broken
    assert "seeds" in lines[1]
    assert [line.split()[0] for line in lines[3:6]] == ["BadNet", "SIG", "WaNet"]
    # what fits needs no remark
    assert ("Too wide" in narrow.caption) == (count < 9)


def test_the_model_of_a_study_without_axes(write: Write, model_row: Row) -> None:
    study = {"axes": [], "compare": [], "published": [], "planned_trials": 1, "seeds": [0]}
    names = []
    for defense in ("none", "cleanclip"):
        row = model_row("trial", 0, None, 0.5, 0.9, defense_type=defense)
        names.append(summarize(load(write(study, [row], []))).lines()[0][0])
    # is called what it is
    assert names == ["victim", "defended"]
