"""Similarities of pairs go from the store into the folder of results, one file for each point."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray.evaluation import detection
from bdray.pipeline.store import Store
from bdray.report.similarities import MAX_BYTES
from bdray.study.plan import Result, jobs
from bdray.study.results import ResultsFolder, results_folder
from bdray.study.similarities import SIMILARITIES
from bdray.study.spec import LoadedStudy, load

LAMBDA = "defense.in_modal_weight"
HEAD = "sample,is_poisoned,is_suspicious,clean_similarity\n"
MADE = {"commit": "abc", "python": "3.11", "versions": {}, "worker": "host:1", "started": 1e9, "seconds": 2.0}

Add = Callable[..., None]


def folder_of(loaded: LoadedStudy, store: Store) -> ResultsFolder:
    return ResultsFolder(results_folder(loaded), loaded, store, planned_trials=4)


def listed(folder: ResultsFolder) -> list[dict[str, Any]]:
    """What the written study says, with what the files hold."""
    folder.write()
    tree = json.loads((folder.folder / "study.json").read_text(encoding="utf-8"))
    paths = [folder.folder / item["file"] for item in tree["similarities"]]
    texts = [path.read_text(encoding="utf-8") if path.exists() else None for path in paths]
    return [item | {"text": text} for item, text in zip(tree["similarities"], texts, strict=True)]


@pytest.fixture
def finish(store: Store, tmp_path: Path) -> Add:
    """Puts a trial's result into the store, with a file of similarities if there is a text, and notes it."""

    def add(folder: ResultsFolder, point: dict[str, Any], seed: int, text: str | None, **entry: int) -> None:
        trial = folder.loaded.trial(point, seed)
        job = jobs(trial)[-1]
        path = tmp_path / SIMILARITIES
        path.write_text(text or "", encoding="utf-8")
        numbers = {**MADE, "history": [], "metrics": {}}
        model = store.save(job.stage.name, job.key, numbers, {} if text is None else {SIMILARITIES: path})
        for name, value in entry.items():
            model["files"][SIMILARITIES][name] = value
        folder.add_trial(trial, Result(job, model, {}))

    return add


def test_it_is_the_file_that_defenses_write() -> None:
    # named twice, for reading a study must not import torch
    assert SIMILARITIES == detection.SIMILARITIES


def test_every_point_has_the_file_of_its_lowest_seed(grid: LoadedStudy, store: Store, finish: Add) -> None:
    folder = folder_of(grid, store)
    for seed, value in ((1, 1), (0, 1), (1, 0), (0, 0)):
        finish(folder, {LAMBDA: value}, seed, f"{HEAD}{seed},True,True,0.{value}\n")
    found = listed(folder)
    # in the order of the axis, whatever came first
    assert [(item["point"], item["seed"]) for item in found] == [({LAMBDA: 0}, 0), ({LAMBDA: 1}, 0)]
    # each its own, whole
    assert [item["text"] for item in found] == [f"{HEAD}0,True,True,0.0\n", f"{HEAD}0,True,True,0.1\n"]
    assert len(list((folder.folder / "similarities").iterdir())) == 2
    # and the tracker gets them
    assert "similarities" in [path.name for path in folder.files]


def test_a_lower_seed_without_a_result_is_not_waited_for(grid: LoadedStudy, store: Store, finish: Add) -> None:
    folder = folder_of(grid, store)
    finish(folder, {LAMBDA: 1}, 1, HEAD)
    # the lowest that there is
    assert [item["seed"] for item in listed(folder)] == [1]


def test_a_defense_that_left_no_file_lists_none(grid: LoadedStudy, store: Store, finish: Add) -> None:
    folder = folder_of(grid, store)
    finish(folder, {LAMBDA: 1}, 0, None)
    # no empty section in the report, no empty folder
    assert listed(folder) == []
    assert [path.name for path in folder.files] == ["study.json", "results.csv", "history.csv"]


def test_a_study_ends_without_a_file(grid: LoadedStudy, store: Store, finish: Add) -> None:
    folder = folder_of(grid, store)
    finish(folder, {LAMBDA: 1}, 1, HEAD)
    finish(folder, {LAMBDA: 0}, 0, HEAD, bytes=MAX_BYTES + 1)
    (damaged,) = store.fetch("defend", jobs(grid.trial({LAMBDA: 1}, 1))[-1].key, SIMILARITIES).parent.glob("*.csv")
    damaged.write_text("damaged", encoding="utf-8")
    other = folder_of(grid, store)
    finish(other, {LAMBDA: 0}, 0, HEAD, bytes=MAX_BYTES + 1)
    trial = grid.trial({LAMBDA: 1}, 1)
    job = jobs(trial)[-1]
    model = store.find("defend", job.key)
    assert model is not None
    other.add_trial(trial, Result(job, model, {}))
    # damaged or larger than a report takes: listed as missing, and no older copy stands in for it
    assert [item["text"] for item in listed(other)] == [None, None]


HOSTILE = """
title: Names
base: tiny
axes:
  attack:
    label: attack
    variants:
      ../../etc/λ 1: {attack: {num_poisoned: 8}}
      ../../etc/λ_1: {attack: {num_poisoned: 4}}
      "": {attack: {num_poisoned: 6}}
      LONG: {attack: {num_poisoned: 2}}
"""


def test_names_of_files_are_safe_and_distinct(workplace: Path, store: Store, finish: Add) -> None:
    long = "x" * 300
    (workplace / "studies" / "some" / "names.yaml").write_text(HOSTILE.replace("LONG", long), encoding="utf-8")
    folder = folder_of(load("some/names"), store)
    names = ("../../etc/λ 1", "../../etc/λ_1", "", long)
    for name in names:
        finish(folder, {"attack": name}, 0, f"{HEAD}1,True,True,0.5\n")
    found = listed(folder)
    # in the one folder, short, and told apart also where their readable parts are the same
    assert len({item["file"] for item in found}) == len(names)
    assert all(len(item["file"]) < 100 and item["file"].isascii() and item["file"].count("/") == 1 for item in found)
    assert all(item["text"] for item in found)
