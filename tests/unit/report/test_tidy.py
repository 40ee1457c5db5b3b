import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bdray.report import Report, build, tidy
from bdray.report.intervals import wilson
from bdray.report.results import load
from bdray.report.statistics import estimate

Write = Callable[..., Path]
Row = Callable[..., dict[str, Any]]
AXIS = "axis.defense.in_modal_weight"


def test_one_row_for_every_number(write: Write, model_row: Row) -> None:
    models = [model_row("victim", 0, None, 0.9, 0.8), model_row("trial", 0, 1, 0.25, 0.7)]
    history = [{"key": "trial-1-0", "role": "trial", "seed": 0, "defense.in_modal_weight": 1, "epoch": 2, "loss": 0.5}]
    frame = load(write({}, models, history)).tidy()
    # 12 rates, the distance and the time of two models, and one loss
    assert len(frame) == 2 * (16 + 2) + 1
    found = frame[(frame["role"] == "trial") & (frame["metric"] == "attack_success_rate_top1")].iloc[0]
    identity = ("study", "key", "seed", AXIS, "split", "value", "unit", "trigger_type", "defense_type")
    assert [found[name] for name in identity] == [
        *("ablations/lambda2", "trial-1-0", 0, 1.0, "test", 0.25, "fraction", "badnet", "cleanclip")
    ]
    # a number of the finished model has no epoch, one of the history has, and knows its model
    assert pd.isna(found["epoch"])
    loss = frame[frame["metric"] == "loss"].iloc[0]
    assert (loss["epoch"], loss["value"], loss["defense_type"]) == (2, 0.5, "cleanclip")
    assert set(frame[frame["metric"] == "train_seconds"]["unit"]) == {"s"}


def test_columns_are_those_that_are_documented(full_report: Report) -> None:
    frame = pd.read_csv(full_report.page.parent / "tidy.csv")
    documented = [line.split("|")[1] for line in (tidy.__doc__ or "").splitlines() if line.startswith("| `")]
    names = " ".join(documented).replace("`", "").replace(",", "").replace("axis.FIELD", AXIS).split()
    # all of them, and no other
    assert sorted(names) == sorted(frame.columns)


def test_csv_and_parquet_hold_the_same(full_report: Report) -> None:
    folder = full_report.page.parent
    parquet = pd.read_parquet(folder / "tidy.parquet")
    text = pd.read_csv(folder / "tidy.csv")
    assert len(parquet) == len(text) > 400
    assert list(parquet.columns) == list(text.columns)
    assert parquet["value"].tolist() == pytest.approx(text["value"].tolist())


def test_the_table_is_made_of_these_numbers(full_report: Report) -> None:
    frame = pd.read_parquet(full_report.page.parent / "tidy.parquet")
    table = pd.read_csv(full_report.page.parent / "table.csv")
    for metric in ("attack_success_rate_top1", "clean_accuracy_top1"):
        for row in table.to_dict("records"):
            chosen = frame[(frame["metric"] == metric) & frame["epoch"].isna() & (frame["role"] == row["role"])]
            level = row["defense.in_modal_weight"]
            values = chosen[chosen[AXIS].isna() if pd.isna(level) else chosen[AXIS] == level]["value"]
            found = estimate(list(values))
            # mean, interval and number of seeds of every row can be had from the long table alone
            assert (row[f"{metric}_mean"], row[f"{metric}_n"]) == pytest.approx((found.mean, found.n), rel=1e-5)
            assert (row[f"{metric}_low"], row[f"{metric}_high"]) == pytest.approx((found.low, found.high), rel=1e-4)


def test_tables_and_figures_have_no_other_source(full_report: Report, tmp_path: Path) -> None:
    source = full_report.page.parent
    for name in ("study.json", "results.csv", "history.csv"):
        shutil.copyfile(source / name, tmp_path / name)
    rebuilt = build(tmp_path)
    # from these three files alone come the very same files
    assert [path.name for path in rebuilt.files] == [path.name for path in full_report.files]
    for path in rebuilt.files:
        if path.suffix != ".parquet":
            assert path.read_bytes() == (source / path.name).read_bytes(), path.name


def test_counts_give_wilson_intervals(write: Write, model_row: Row) -> None:
    row = model_row("trial", 0, 1, 0.25, 0.7, num_images=160, num_non_target_images=150, victim_key="abc")
    frame = load(write({}, [row], [])).tidy().set_index("metric")
    rate, distance = frame.loc["attack_success_rate_top1"], frame.loc["embedding_distance"]
    assert (rate["num_images"], rate["low"], rate["high"]) == pytest.approx((150, *wilson(0.25, 150)))
    assert frame.loc["clean_accuracy_top1"]["num_images"] == 160
    # a distance is no share, and a count no metric
    assert pd.isna(distance["low"])
    assert "num_images" not in frame.index
    assert rate["victim_key"] == "abc"


def test_studies_concatenate(write: Write, overview: Callable[..., Path], tmp_path: Path) -> None:
    frames = [load(folder).tidy() for folder in (write(), overview())]
    both = pd.concat(frames)
    # into one table that a file of columns with types can hold
    both.to_parquet(tmp_path / "both.parquet")
    assert len(pd.read_parquet(tmp_path / "both.parquet")) == sum(map(len, frames))
    common = [column for column in frames[0] if column in frames[1]]
    assert all(frames[0][column].dtype == frames[1][column].dtype for column in common)


def test_nothing_yet(write: Write) -> None:
    frame = load(write({}, [], [])).tidy()
    # all columns and no row
    assert len(frame) == 0
    assert {"study", AXIS, "metric", "value", "low"} <= set(frame.columns)
