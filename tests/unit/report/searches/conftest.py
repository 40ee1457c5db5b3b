"""Small results folders of searches, written by hand."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray.report.results import Results, load

LAMBDA, RATE, SCHEDULE, WARMUP = "defense.in_modal_weight", "defense.lr", "defense.schedule", "defense.warmup"
AXES: list[dict[str, Any]] = [
    {"field": LAMBDA, "label": "λ₂", "low": 0.1, "high": 10, "log": True},
    {"field": RATE, "label": "lr", "low": 0.001, "high": 0.003},
    {"field": SCHEDULE, "label": "schedule", "values": ["cosine", "constant"]},
    {"field": WARMUP, "label": "warm-up", "low": 0, "high": 5, "integer": True},
]
ASR, CA = "attack_success_rate_top1", "clean_accuracy_top1"
METRICS: list[dict[str, Any]] = [
    {"name": ASR, "label": "ASR", "goal": "min"},
    {"name": CA, "label": "CA", "goal": "max"},
]
Searches = Callable[..., Path]


def search_row(number: int, asr: float | str, ca: float | str, **more: Any) -> dict[str, Any]:
    """A trial; its warm-up is a knob of the cosine schedule only."""
    schedule = "cosine" if number % 2 else "constant"
    row: dict[str, Any] = {
        "role": "trial",
        "key": f"t{number}",
        "seed": 0,
        LAMBDA: round(0.1 * 1.25**number, 4),
        RATE: 0.001 + 0.0001 * (number * 7 % 20),
        SCHEDULE: schedule,
        WARMUP: number % 5 if schedule == "cosine" else "",
        "number": number,
        "status": "done",
        "trigger_type": "badnet",
        "defense_type": "cleanclip",
        ASR: asr,
        CA: ca,
        "train_seconds": 3.0,
    }
    row |= more
    return row | {"key": f"{row['key']}-{row['seed']}"}


def victim_row(seed: int = 0, asr: float = 0.98, ca: float = 0.9, **more: Any) -> dict[str, Any]:
    """The victim of all trials of a seed."""
    row = search_row(0, asr, ca, role="victim", seed=seed, key="victim", defense_type="none") | {"number": ""}
    return row | {axis["field"]: "" for axis in AXES} | more


def write_search(
    folder: Path, rows: list[dict[str, Any]], history: list[dict[str, Any]] | None = None, **study: Any
) -> Path:
    """Write the folder of a search from its rows and changes to ``study.json``."""
    tree: dict[str, Any] = {
        "name": "search/test",
        "id": "ab12cd34",
        "title": "A search",
        "axes": AXES,
        "seeds": [0],
        "split": "validation",
        "metrics": METRICS,
        "planned_trials": sum(row["role"] == "trial" for row in rows),
        "search": {"type": "optuna, tpe", "num_points": 24, "constraints": []},
    }
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_text(json.dumps(tree | study), encoding="utf-8")
    for name, table in (("results.csv", rows), ("history.csv", history or [])):
        if table:
            columns = list(dict.fromkeys(column for row in table for column in row))
            with (folder / name).open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(table)
    return folder


@pytest.fixture
def searches(tmp_path: Path) -> Searches:
    """Writes the folder of a search."""
    return lambda rows, history=None, **study: write_search(tmp_path / "search", rows, history, **study)


@pytest.fixture
def results(searches: Searches) -> Callable[..., Results]:
    """Reads what ``searches`` writes."""
    return lambda *rows, **study: load(searches(list(rows), **study))
