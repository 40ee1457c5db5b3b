"""What the driver does about a disk that is full for a while."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from bdray.exceptions import DataError
from bdray.pipeline.store import Store
from bdray.study.observer import Observer
from bdray.study.plan import jobs
from bdray.study.progress import progress
from bdray.study.results import ResultsFolder
from bdray.study.spec import LoadedStudy
from bdray.tracking import Tracker

if TYPE_CHECKING:
    from tests.conftest import SmallDisk


def test_a_full_disk_is_told_once_and_made_up_for(
    grid: LoadedStudy,
    store: Store,
    compute: Callable[..., None],
    small_disk: "Callable[[int], SmallDisk]",
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bdray.study.observer.WRITE_SECONDS", 0.0)  # every trial is a try
    disk = small_disk(1)
    results = ResultsFolder(disk.folder / "study", grid, store, planned_trials=4)
    results.write()
    screen = progress(Console(file=io.StringIO()), [], 1)
    with Tracker(str(tmp_path / "mlflow.db"), tmp_path / "spool") as tracker:
        observer = Observer(grid, screen, tracker, results)

        def finish(value: float, seed: int) -> None:
            trial = grid.trial({"defense.in_modal_weight": value}, seed)
            made = jobs(trial)[1:]
            for job in made:
                compute(job)
            found = [job.find(store) for job in made]
            observer.trial(trial, found[-1], found[0])

        disk.fill()
        before = (disk.folder / "study" / "study.json").read_bytes()
        finish(1, 0)
        finish(1, 1)
        observer.trace(jobs(grid.trial({"defense.in_modal_weight": 1}, 0))[-1], "Traceback")
        # Told once what happened; what was there is whole.
        messages = [record.getMessage() for record in caplog.records]
        told = [message for message in messages if "the study's results cannot be written" in message]
        assert len(told) == 1
        assert "No space left on device" in told[0]
        assert (disk.folder / "study" / "study.json").read_bytes() == before
        # At the end of a study it is an error that names the folder and the next step.
        with pytest.raises(DataError, match=r"study: the study's results cannot be written .* Make room"):
            results.write()
        disk.free()
        finish(0, 0)
    with (disk.folder / "study" / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # With room again, nothing of the meantime is missing.
    assert len([row for row in rows if row["role"] == "trial"]) == 3
