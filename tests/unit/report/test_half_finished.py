"""The report of a study at any moment of its life: no moment makes it fail, and it says what is missing."""

import random
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray.exceptions import DataError
from bdray.report import Report, figures, html
from bdray.report.comparison import build as compare
from bdray.report.exports import write_tables
from bdray.report.results import load
from bdray.report.tables import summarize

Write = Callable[..., Path]
Row = Callable[..., dict[str, Any]]
LAMBDA = "defense.in_modal_weight"
FAILURES = [{"trial": "λ₂ = 8, seed 2", "reason": "the loss is NaN in epoch 2"}]
EXTENT = {"num_images": 200, "num_non_target_images": 180}


def page(folder: Path) -> str:
    """The page, with its figures, and the tables beside it, made without a single warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = load(folder)
        summary = summarize(results)
        write_tables(results, summary, folder)
        return html.render(results, summary, figures.result_panels(results), figures.learning_panels(results))


@pytest.mark.parametrize(
    ("count", "has_history"), [(0, False), (1, True), (3, False), (4, True), (9, True), (12, False)]
)
def test_after_any_number_of_models(write: Write, models: list[dict[str, Any]], count: int, has_history: bool) -> None:
    random.Random(count).shuffle(models)
    folder = write({"failures": FAILURES}, models[:count], None if has_history else [])
    trials = sum(row["role"] == "trial" for row in models[:count])
    text = page(folder)
    assert f"{trials} of 18 trials done" in text
    assert "λ₂ = 8, seed 2: the loss is NaN in epoch 2" in text
    assert text.count(", seed ") >= 18 - trials


@pytest.mark.parametrize("kept", ["victim", "trial"])
def test_with_one_role_only(write: Write, models: list[dict[str, Any]], kept: str) -> None:
    assert "trials done" in page(write({"planned_trials": 19}, [row for row in models if row["role"] == kept]))


@pytest.mark.parametrize("metric", ["attack_success_rate_top1", "clean_accuracy_top1"])
def test_without_a_number(write: Write, models: list[dict[str, Any]], metric: str) -> None:
    for row in models:
        row[metric] = ""
    # no share of no images, say
    assert "Numbers" in page(write({}, models, []))


def test_where_nothing_varies(write: Write, model_row: Row) -> None:
    rows = [model_row("trial", seed, level, 1.0, 0.0, **EXTENT) for level in (0, 1, 2) for seed in (0, 1, 2)]
    text = page(write({"published": [], "planned_trials": 9}, rows))
    # intervals of no width, no correlation, no p-value, and nothing divided by zero
    assert "within seed noise" in text
    assert not re.search(r"\b(nan|inf)\b", text)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_single_seed_at_the_end_of_the_scale(write: Write, model_row: Row, rate: float) -> None:
    rows = [model_row(role, 0, level, rate, rate, **EXTENT) for role, level in (("victim", None), ("trial", 1))]
    text = page(write({"planned_trials": 6, "seeds": [0]}, rows))
    # labelled in the table, below the figure and in the finding
    assert "of the sampling of images only, not of trainings" in text
    assert "a single seed, so without a band" in text
    assert "All of this rests on a single seed" in text


def test_some_points_with_a_single_seed_are_counted(write: Write, model_row: Row) -> None:
    rows = [model_row("trial", seed, level, 0.5, 0.9) for seed, level in ((0, 0), (1, 0), (0, 1))]
    assert "1 of 6 points rests on a single seed" in page(write({"planned_trials": 18}, rows))


def test_failed_models_are_listed(write: Write, models: list[dict[str, Any]]) -> None:
    models[-1] |= {"status": "failed", "attack_success_rate_top1": "", "clean_accuracy_top1": ""}
    text = page(write({"failures": FAILURES}, models))
    assert "17 of 18 trials done" in text
    assert '<tr class="failed">' in text


def test_without_axes(write: Write, model_row: Row) -> None:
    rows = [{k: v for k, v in model_row("trial", seed, None, 0.5, 0.9).items() if k != LAMBDA} for seed in (0, 1)]
    study = {"axes": [], "compare": [], "published": [], "planned_trials": 3, "seeds": [0, 1, 2]}
    assert "trial, seed 2" in page(write(study, rows, []))


def test_comparison_of_half_finished_studies(full_report: Report, write: Write, tmp_path: Path) -> None:
    folder = write({"name": "other", "failures": FAILURES}, [], [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compared = compare([full_report.page.parent, folder], tmp_path / "to")
        text = compared.files[0].read_text(encoding="utf-8")
        assert "other is half-finished: 0 of 18 trials are done, 1 failed." in text
        # also the other way round, and of nothing with nothing
        compare([folder, full_report.page.parent], tmp_path / "to")
        twin = tmp_path / "twin"
        shutil.copytree(folder, twin)
        text = compare([folder, twin], tmp_path / "to").files[0].read_text(encoding="utf-8")
    assert "No study has a result yet." in text


def test_a_damaged_file_is_named(write: Write) -> None:
    folder = write()
    text = (folder / "results.csv").read_text(encoding="utf-8").splitlines()
    (folder / "results.csv").write_text("\n".join([*text[:3], text[3].replace("0.9", "0.9x", 1)]), encoding="utf-8")
    with pytest.raises(DataError, match=r"results\.csv: line 4: .* must be a number"):
        load(folder)
