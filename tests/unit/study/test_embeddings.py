"""Maps of features go from the store into the folder of results: for each point, and for each kind of victim."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray.evaluation.metrics import embedding_map
from bdray.pipeline.store import Store
from bdray.study.embeddings import EMBEDDING
from bdray.study.plan import Result, jobs
from bdray.study.results import ResultsFolder, results_folder
from bdray.study.spec import LoadedStudy, load

LAMBDA = "defense.in_modal_weight"
MADE = {"commit": "abc", "python": "3.11", "versions": {}, "worker": "host:1", "started": 1e9, "seconds": 2.0}

Add = Callable[..., None]


def listed(folder: ResultsFolder) -> list[dict[str, Any]]:
    """What the written study says, with what the files hold."""
    folder.write()
    found: list[dict[str, Any]] = json.loads((folder.folder / "study.json").read_text(encoding="utf-8"))["embeddings"]
    paths = [folder.folder / item["file"] for item in found]
    return [
        item | {"text": path.read_text() if path.exists() else None} for item, path in zip(found, paths, strict=True)
    ]


@pytest.fixture
def finish(store: Store, tmp_path: Path) -> Add:
    """Puts a trial's evaluation into the store, with a map if there is a text, and notes it."""

    def add(folder: ResultsFolder, point: dict[str, Any], seed: int, text: str | None, *, victim: bool = False) -> None:
        trial = folder.loaded.trial(point, seed)
        job = jobs(trial)[-2 if victim else -1]
        path = tmp_path / EMBEDDING
        path.write_text(text or "", encoding="utf-8")
        numbers: dict[str, Any] = {**MADE, "history": [], "metrics": {}}
        model = store.save(job.stage.name, job.key, numbers, {})
        assert job.evaluation is not None
        store.save(job.evaluation.name, job.evaluation.key, numbers, {} if text is None else {EMBEDDING: path})
        (folder.add_victim if victim else folder.add_trial)(trial, Result(job, model, {}))

    return add


@pytest.fixture
def folder(grid: LoadedStudy, store: Store) -> ResultsFolder:
    """Of a study that asks for maps."""
    kinds = ("clean_accuracy", "attack_success_rate", "embedding_map")
    metrics = ",".join(f"{{type: {kind}}}" for kind in kinds)
    loaded = load(grid.name, [f"evaluation.metrics=[{metrics}]"])
    return ResultsFolder(results_folder(loaded), loaded, store, planned_trials=4)


def test_it_is_the_file_that_the_metric_writes() -> None:
    # named twice, for reading a study must not import what evaluates
    assert EMBEDDING == embedding_map.EMBEDDING


def test_every_point_and_the_victim_have_one(folder: ResultsFolder, finish: Add) -> None:
    for seed, value in ((1, 1), (0, 1), (1, 0), (0, 0)):
        finish(folder, {LAMBDA: value}, seed, f"{value} of seed {seed}")
    finish(folder, {LAMBDA: 1}, 1, "victim of seed 1", victim=True)
    found = listed(folder)
    # the victim first, then the order of the axis; of each the lowest seed, whichever came first
    assert [item["text"] for item in found] == ["victim of seed 1", "0 of seed 0", "1 of seed 0"]
    assert found[0]["label"] == "victim"
    assert all(f"= {value}" in item["label"] for value, item in enumerate(found[1:]))
    # and the tracker gets them
    assert "embeddings" in [path.name for path in folder.files]


def test_a_map_that_the_store_lost_is_listed_as_missing(folder: ResultsFolder, finish: Add) -> None:
    finish(folder, {LAMBDA: 1}, 0, None)
    assert [item["text"] for item in listed(folder)] == [None]


def test_a_study_that_asks_for_none_has_none(grid: LoadedStudy, store: Store, finish: Add) -> None:
    plain = ResultsFolder(results_folder(grid), grid, store, planned_trials=4)
    finish(plain, {LAMBDA: 1}, 0, "unasked")
    assert listed(plain) == []
    assert "embeddings" not in [path.name for path in plain.files]


def test_a_victim_that_is_a_point_has_one_map(workplace: Path, store: Store, finish: Add) -> None:
    (workplace / "studies" / "some" / "defenses.yaml").write_text(
        "title: Defenses\nbase: tiny\n"
        "experiment:\n"
        "  evaluation: {metrics: [{type: clean_accuracy}, {type: attack_success_rate}, {type: embedding_map}]}\n"
        "axes: {defense: {variants: {none: {defense: null}, FT: {defense: {type: finetune}}}}}\n",
        encoding="utf-8",
    )
    loaded = load("some/defenses")
    folder = ResultsFolder(results_folder(loaded), loaded, store, planned_trials=2)
    finish(folder, {"defense": "FT"}, 0, "victim", victim=True)
    # As long as its point has not ended, the victim stands for itself.
    assert [item["label"] for item in listed(folder)] == ["victim"]
    finish(folder, {"defense": "none"}, 0, "victim")
    assert [item["label"] for item in listed(folder)] == ["none"]
