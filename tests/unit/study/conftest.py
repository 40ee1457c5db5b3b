"""A folder of studies small enough to read here, and jobs whose results are put into the store by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray.pipeline.store import Store
from bdray.study.plan import Job
from bdray.study.spec import LoadedStudy, load

TINY = """
data: {type: scenes, num_train: 64, num_finetune: 64, num_validation: 16, num_test: 32}
model: {architecture: scenes-rn8}
pretrain:
  recipe: &recipe {epochs: 1, batch_size: 32, learning_rate: 1e-3}
attack:
  trigger: {type: badnet, size: 6}
  num_poisoned: 8
victim: {recipe: *recipe}
defense: {type: cleanclip, recipe: {epochs: 3, batch_size: 32, learning_rate: 1e-3}}
evaluation: {epoch_images: 16}
"""
BLENDED = "base: tiny\nattack: {trigger: {type: blended, alpha: 0.3}}\n"
WEAKER = "base: blended\nattack: {trigger: {alpha: 0.1}}\n"
GRID = """
title: A grid
base: tiny
experiment: {defense: {clip_weight: 0.5}}
axes:
  defense.in_modal_weight: {label: λ₂, values: [0, 1], names: {"0": FT}}
seeds: [0, 1]
"""
SEARCH = """
title: A search
base: tiny
axes:
  defense.in_modal_weight: {label: λ₂, low: 0.1, high: 8, log: true}
search: {type: optuna, num_points: 4, sampler: random}
seeds: [0]
"""
METRICS = {"attack_success_rate_top1": 0.25, "clean_accuracy_top1": 0.75}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with studies in it."""
    files = {"base/tiny": TINY, "base/blended": BLENDED, "base/weaker": WEAKER}
    files |= {"some/grid": GRID, "some/search": SEARCH}
    for name, text in files.items():
        path = tmp_path / "studies" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def grid(workplace: Path) -> LoadedStudy:
    """Two values of λ₂, two seeds."""
    return load("some/grid")


@pytest.fixture
def search(workplace: Path) -> LoadedStudy:
    """Four points on a range of λ₂, one seed."""
    return load("some/search")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"), tmp_path / "cache")


@pytest.fixture
def compute(store: Store, tmp_path: Path) -> Callable[..., None]:
    """Puts a result into the store, as a worker does; its picture says which trigger it shows.

    Of the metrics those of detection are the defense's own, the others those of the evaluation.
    """

    def put(job: Job, **metrics: float) -> None:
        history = [{"epoch": epoch + 1.0, "loss": 2.0 - epoch, "train_seconds": 0.5} for epoch in range(job.epochs)]
        made: dict[str, Any] = {"commit": "abc", "python": "3.11", "versions": {"torch": "2"}, "worker": "host:1"}
        made |= {"started": 1e9, "seconds": 2.0, "history": history}
        found = {name: metrics.pop(name) for name in list(metrics) if name.startswith("detection_")}
        last = history[-1] | (found if job.stage.name == "defend" else {})
        store.save(job.stage.name, job.key, {**made, "metrics": last}, {})
        if job.evaluation is not None:
            picture = tmp_path / "examples.png"
            picture.write_text(job.stage.experiment.attack.trigger.type, encoding="utf-8")
            store.save("evaluate", job.evaluation.key, {"metrics": METRICS | metrics}, {picture.name: picture})

    return put
