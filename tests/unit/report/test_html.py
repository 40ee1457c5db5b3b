import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray.report import Report, build, figures, html
from bdray.report.results import load
from bdray.report.tables import summarize

Write = Callable[..., Path]
Rows = list[dict[str, Any]]


@pytest.fixture
def full_page(full_report: Report) -> str:
    return full_report.page.read_text(encoding="utf-8")


def page(folder: Path) -> str:
    """The page alone, without the files beside it."""
    results = load(folder)
    panels = figures.result_panels(results), figures.learning_panels(results)
    return html.render(results, summarize(results), *panels)


def test_full_report_writes_everything(full_report: Report) -> None:
    report, folder = full_report, full_report.page.parent
    names = ["report.html", "table.csv", "table.tex"]
    names += [f"{stem}.{kind}" for stem in ("figure", "learning_curves") for kind in ("png", "svg", "pdf")]
    # every file is there and not empty
    assert [path.name for path in report.files] == names
    assert all((folder / name).stat().st_size > 500 for name in names if name != "table.csv")
    assert (report.done, report.planned) == (18, 18)


def test_page_is_self_contained(full_page: str) -> None:
    text = full_page
    references = re.findall(r'(?:src|href|action|data|poster|srcset)\s*=\s*["\']?([^"\'\s>]*)', text)
    # every reference stays inside the page, and the policy forbids the rest
    assert all(reference.startswith("#") for reference in references)
    assert not re.search(r"@import|url\((?!#)|<script|<link|<iframe|<img", text)
    assert "http://" not in text.replace("sqlite://", "")
    assert "https://" not in text
    assert "default-src 'none'" in text


def test_ids_are_unique(full_page: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', full_page)
    # four figures share a page without taking each other's glyphs
    assert len(ids) == len(set(ids))


def test_figures_follow_the_page_colors(full_page: str) -> None:
    text = full_page
    # drawn colors are variables, which dark mode redefines
    assert "var(--c0a66b0)" in text
    assert "prefers-color-scheme: dark" in text


def test_everything_untrusted_is_escaped(write: Write) -> None:
    evil = "<script>alert(1)</script>--><img src=x onerror=alert(1)>"
    folder = write(
        {
            "name": evil,
            "title": evil,
            "question": evil,
            "source": evil,
            "axes": [
                {
                    "field": "defense.in_modal_weight",
                    "label": evil,
                    "values": [0, 0.5, 1, 2, 4, 8],
                    "names": {"0": evil},
                }
            ],
            "metrics": [
                {"name": "attack_success_rate_top1", "label": evil, "goal": "min"},
                {"name": "clean_accuracy_top1", "label": evil, "goal": "max"},
            ],
            "deviations": [evil],
            "settings": {evil: {"type": evil, "caption": evil, "list": [evil]}},
            "provenance": {"host": evil, "versions": {evil: evil}},
            "failures": [{"trial": evil, "reason": evil}],
            "mlflow": {"uri": evil, "command": evil},
        }
    )
    text = page(folder)
    # nothing of it is markup, in the page or in its figures
    assert "<script" not in text
    assert "<img" not in text
    assert text.count("&lt;script&gt;") >= 15


def test_half_finished_report_lists_what_is_missing(write: Write, models: Rows) -> None:
    failures = [{"trial": "λ₂ = 8, seed 2", "reason": "loss is NaN in epoch 2"}]
    text = page(write({"failures": failures}, models[:20]))
    # how far, what failed and why, what is missing
    assert "17 of 18 trials done" in text
    assert "λ₂ = 8, seed 2: loss is NaN in epoch 2" in text
    assert "Missing: λ₂ = 8, seed 2." in text


def test_empty_study_has_a_report(write: Write) -> None:
    report = build(write(models=[], history=[]))
    # no figure from no results, yet a page that says so
    assert [path.name for path in report.files] == ["report.html", "table.csv", "table.tex"]
    assert "0 of 18 trials done" in report.page.read_text(encoding="utf-8")


def test_finished_report_has_no_warning(full_page: str) -> None:
    # a whole study needs none
    assert "trials done" not in full_page


def test_definitions_and_provenance(full_page: str) -> None:
    text = full_page
    # which ASR, how many images, which commit, how long, how to see the runs
    for needed in ("exclude_target", "<dd>1600</dd>", "3f9c2a1", "7.2 min", "mlflow ui --backend-store-uri"):
        assert needed in text


@pytest.mark.parametrize("settings", [{}, {"data": None}, {"a": {"b": {"c": [1, {"d": 2}]}}}])
def test_any_settings_are_shown(write: Write, settings: dict[str, Any]) -> None:
    # settings are whatever the experiment was
    assert "Settings of the experiment" in page(write({"settings": settings}))
