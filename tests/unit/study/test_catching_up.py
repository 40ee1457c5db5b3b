"""The folder of results is written now and then, and whole in the end."""

import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from rich.console import Console

from bdray.pipeline.store import Store
from bdray.report.results import load as load_results
from bdray.study import observer as observing
from bdray.study.observer import Observer
from bdray.study.plan import Job, jobs
from bdray.study.progress import PlainLines
from bdray.study.results import ResultsFolder, results_folder
from bdray.study.spec import LoadedStudy

LAMBDA = "defense.in_modal_weight"


class Bench:
    """An observer of a study that runs, and the clock it looks at."""

    def __init__(self, loaded: LoadedStudy, store: Store, compute: Callable[[Job], None]) -> None:
        self.now = 100.0
        self.writes = 0
        self._loaded, self._store, self._compute = loaded, store, compute
        self.folder = ResultsFolder(results_folder(loaded), loaded, store, planned_trials=4)
        screen = PlainLines(Console(quiet=True), [])
        self.observer = Observer(loaded, screen, cast("Any", None), self.folder)  # no run is opened here

    def end(self, value: float, seed: int) -> None:
        """A trial ends."""
        trial = self._loaded.trial({LAMBDA: value}, seed)
        job = jobs(trial)[-1]
        self._compute(job)
        self.observer.trial(trial, job.find(self._store), None)

    @property
    def written(self) -> int:
        """Trials that a report would show now."""
        return len(load_results(self.folder.folder).trials)


@pytest.fixture
def bench(grid: LoadedStudy, store: Store, compute: Callable[[Job], None], monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(grid, store, compute)
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


def test_a_lone_trial_is_shown_at_once_and_a_crowd_now_and_then(bench: Bench) -> None:
    bench.end(0, 0)
    assert bench.written == 1
    bench.end(0, 1)
    bench.end(1, 0)
    # These ended at the same moment, so that writing all of them again waits,
    bench.observer.catch_up()
    assert bench.written == 1
    # but not for the next trial, which may take hours.
    bench.now += observing.WRITE_SECONDS
    bench.observer.catch_up()
    assert bench.written == 3


def test_an_interruption_leaves_all_that_ended(bench: Bench) -> None:
    for value, seed in ((0, 0), (0, 1), (1, 0)):
        bench.end(value, seed)
    bench.observer.interrupt((), "somebody pressed Ctrl-C")
    assert bench.written == 3
