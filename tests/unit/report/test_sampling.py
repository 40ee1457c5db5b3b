from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray.report import html
from bdray.report.intervals import wilson
from bdray.report.results import load
from bdray.report.sampling import count_column
from bdray.report.tables import summarize

Write = Callable[..., Path]
Row = Callable[..., dict[str, Any]]
COUNTS = {"num_images": 200, "num_non_target_images": 180}


@pytest.mark.parametrize(
    ("metric", "column"),
    [
        ("clean_accuracy_top1", "num_images"),
        ("attack_success_rate_include_target_top1", "num_images"),
        ("attack_success_rate_top5", "num_non_target_images"),
        ("chance_attack_success_rate_top1", "num_non_target_images"),
        ("base_attack_success_rate_top1", "num_non_target_images"),
        ("base_clean_accuracy_top1", "num_images"),
        ("embedding_distance", None),
        ("detection_recall", None),
        ("trigger_ssim", None),
    ],
)
def test_images_that_a_rate_is_a_share_of(metric: str, column: str | None) -> None:
    # ASR leaves out images of the target; what is no share of images has no count
    assert count_column(metric) == column


@pytest.fixture
def single(write: Write, model_row: Row) -> Path:
    """One seed at two points, with the number of images; one of the points has a second seed."""
    models = [model_row("trial", 0, 0, 0.5, 0.9, **COUNTS), model_row("trial", 0, 1, 0.0, 0.8, **COUNTS)]
    return write({"seeds": [0, 1], "published": []}, [*models, model_row("trial", 1, 1, 0.2, 0.8, **COUNTS)], [])


def test_a_single_seed_has_an_interval_of_its_images(single: Path) -> None:
    summary = summarize(load(single))
    low, high = (100 * end for end in wilson(0.5, 180))
    # of 180 images for ASR and of 200 for CA; two seeds have one over seeds instead
    assert summary.lines()[0] == ["0 (FT)", f"50.0 [{low:.1f}, {high:.1f}]", "90.0 [85.1, 93.4]", "1"]
    assert summary.lines()[2][1] == "10.0 ± 127.1"
    # and it says what it is not
    assert "of the sampling of images only, not of trainings" in summary.caption
    frame = summary.to_frame()
    assert frame["attack_success_rate_top1_wilson_low"][0] == pytest.approx(low / 100)
    assert frame["attack_success_rate_top1_wilson_low"].isna().tolist() == [False, *[True] * 5]
    assert list(frame["attack_success_rate_top1_n"]) == [1, 0, 2, 0, 0, 0]
    assert list(frame["clean_accuracy_top1_low"][2:3]) == pytest.approx([0.8])


def test_the_page_says_what_the_brackets_are(single: Path) -> None:
    results = load(single)
    page = html.render(results, summarize(results), [], [])
    assert "which says nothing of other trainings" in page
    assert "12.7 (2 seeds) standard errors" in page


def test_results_without_counts_have_no_such_interval(write: Write, model_row: Row) -> None:
    summary = summarize(load(write({"published": []}, [model_row("trial", 0, 0, 0.5, 0.9)], [])))
    # those of older versions
    assert summary.lines()[0][1] == "50.0"
    assert "brackets" not in summary.caption
    assert not [name for name in summary.to_frame() if "wilson" in str(name)]
