import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray.exceptions import BdrayError, ConfigError, DataError
from bdray.report.results import load

Write = Callable[..., Path]
Rows = list[dict[str, Any]]


def test_full_study(write: Write) -> None:
    results = load(write())
    # three victims, eighteen trials, six points in the plan's order, nothing missing
    assert (len(results.victims), len(results.trials)) == (3, 18)
    assert results.points() == [(0.0,), (0.5,), (1.0,), (2.0,), (4.0,), (8.0,)]
    assert results.missing() == []
    assert [results.show(point) for point in results.points()][:2] == ["λ₂ = 0 (FT)", "λ₂ = 0.5"]


def test_half_finished_study_says_what_is_missing(write: Write, models: Rows) -> None:
    results = load(write(models=models[:20]))
    # the last trial of seed 2 is missing, by name
    assert results.missing() == ["λ₂ = 8, seed 2"]


def test_failed_trial_is_missing(write: Write, models: Rows) -> None:
    failed = models[-1] | {"status": "failed", "attack_success_rate_top1": "", "clean_accuracy_top1": ""}
    results = load(write(models=[*models[:-1], failed]))
    # a failed trial counts neither as a result nor as zero
    assert results.missing() == ["λ₂ = 8, seed 2"]
    assert math.isnan(results.models["clean_accuracy_top1"].iloc[-1])
    assert len(results.trials) == 17


def test_study_without_any_result(write: Write) -> None:
    results = load(write(models=[], history=[]))
    # no CSV has been written yet: the study loads, empty
    assert results.trials.empty
    assert results.history.empty
    assert len(results.missing()) == 18


def test_names_that_look_like_missing_values(write: Write, models: Rows) -> None:
    field = "defense.in_modal_weight"
    rows = [row | {field: "None"} if row[field] == 0 else row for row in models if row[field] in ("", 0)]
    axes = [{"field": field, "label": "defense", "values": ["None"]}]
    results = load(write({"axes": axes, "published": [], "compare": [], "planned_trials": 3}, rows))
    # pandas would read the level "None" as no value
    assert results.points() == [("None",)]
    assert results.missing() == []


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"clean_accuracy_top1": 94.1}, DataError, "clean_accuracy_top1 holds 94.1, but rates are fractions"),
        ({"clean_accuracy_top1": "high"}, DataError, "line 2: clean_accuracy_top1 must be a number, but is 'high'"),
        ({"status": "finished"}, DataError, "status 'finished' is none of done, failed"),
        ({"role": "victims"}, DataError, "role 'victims' is none of victim, trial"),
        ({"seed": ""}, DataError, "line 2: seed is missing"),
        ({"seed": 1}, DataError, "two finished models stand for a victim"),
    ],
)
def test_damaged_results(write: Write, models: Rows, change: Any, error: type[BdrayError], message: str) -> None:
    # each fault is named with its file and value
    with pytest.raises(error, match=message):
        load(write(models=[models[0] | change, *models[1:]]))


def test_missing_column_suggests_the_nearest(write: Write, models: Rows) -> None:
    rows = [{name.replace("status", "state"): value for name, value in row.items()} for row in models]
    # a renamed column is named, with what is there instead
    with pytest.raises(DataError, match=r"the column 'status' is missing. Did you mean 'state'"):
        load(write(models=rows))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": "x"}, "titel: unknown field. Did you mean 'title'"),
        ({"metrics": []}, "metrics"),
        ({"compare": [0, 3]}, "compare: 3 is not a value of a single axis"),
        ({"published": [{"paper": "CleanCLIP", "table": "Fig5", "attack": "Blended"}]}, "exactly one of `axis`"),
    ],
)
def test_malformed_study(write: Write, change: dict[str, Any], message: str) -> None:
    # the field and the rule are named
    with pytest.raises(ConfigError, match=message):
        load(write(change))


def test_folder_without_study(tmp_path: Path) -> None:
    # the folder is named
    with pytest.raises(ConfigError, match=r"holds no study, for there is no study\.json"):
        load(tmp_path)


def test_truncated_study(write: Write) -> None:
    folder = write()
    path = folder / "study.json"
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    # half a file is not JSON
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        load(folder)
