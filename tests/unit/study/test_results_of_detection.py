"""What defenses measure of themselves, on its way from the store to the report."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from bdray import report
from bdray.pipeline.store import Store
from bdray.report.results import load as load_results
from bdray.study.plan import Job, jobs
from bdray.study.results import ResultsFolder, results_folder
from bdray.study.spec import Trial, load

DETECTING = """
title: A study of detection
base: tiny
experiment:
  defense: {type: ubt, suspicious_share: 0.5, recipe: {epochs: 1, batch_size: 4, learning_rate: 1e-3}}
axes:
  defense.num_detected: {values: [4, 8]}
seeds: [0, 1]
metrics: [{name: detection_recall, label: recall, goal: max}]
"""


@pytest.fixture
def trial(workplace: Path, store: Store, compute: Callable[..., None]) -> Trial:
    """A trial in the store whose defense looked for poisons."""
    (workplace / "studies" / "some" / "detecting.yaml").write_text(DETECTING, encoding="utf-8")
    trial = load("some/detecting").trial({"defense.num_detected": 8}, 0)
    for job in jobs(trial):
        compute(job, detection_recall=0.5, detection_auroc=0.75)
    return trial


def add(folder: ResultsFolder, trial: Trial, job: Job, store: Store) -> None:
    result = job.find(store)
    assert result is not None
    (folder.add_trial if job.stage.name == "defend" else folder.add_victim)(trial, result)
    folder.write()


def test_it_has_columns_of_its_own(trial: Trial, store: Store) -> None:
    loaded = load("some/detecting")
    folder = ResultsFolder(results_folder(loaded), loaded, store, planned_trials=4)
    _, victim, defended = jobs(trial)
    add(folder, trial, victim, store)
    # The study's metric has one before any defense has run.
    assert math.isnan(load_results(folder.folder).victims["detection_recall"].iloc[0])
    assert report.build(folder.folder).done == 0
    add(folder, trial, defended, store)
    results = load_results(folder.folder)
    # The numbers are those of the defended model's last epoch; the victim has none.
    assert list(results.trials["detection_recall"]) == [0.5]
    assert list(results.trials["detection_auroc"]) == [0.75]
    assert results.victims["detection_auroc"].isna().all()
    # They are the study's metric in the table.
    assert [line[1] for line in report.build(folder.folder).summary.lines()] == ["–", "–", "50.0"]
