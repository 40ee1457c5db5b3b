"""Run a study: plan, open store and tracker, let Tune run the jobs, write results."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bdray import config
from bdray.exceptions import BdrayError
from bdray.pipeline.provenance import commit
from bdray.pipeline.store import Store
from bdray.report import Report, build
from bdray.study.board import Board
from bdray.study.observer import Observer
from bdray.study.plan import Plan, plan
from bdray.study.progress import progress
from bdray.study.results import ResultsFolder, results_folder
from bdray.study.search.base import Proposal
from bdray.study.space import probes
from bdray.study.spec import LoadedStudy

if TYPE_CHECKING:
    from bdray.tracking import Tracker


@dataclass(frozen=True)
class Outcome:
    """What a run of a study left behind."""

    report: Report
    failures: int
    ui_command: str
    pending: int
    """Records that MLflow has not received yet."""


def run(loaded: LoadedStudy, console: Console, say_plan: Callable[[Plan], None]) -> Outcome:
    """Run whatever of the study the store does not have, and report on all of it.

    Raises:
        BdrayError: If the study, the store, the tracker or the cluster cannot be used; before any training.
    """
    folder, study = results_folder(loaded), loaded.study
    store = Store(loaded.runtime.store_uri, loaded.runtime.cache)
    store.check_writable()
    known = known_plan(loaded, store)
    say_plan(known)
    with _tracker(loaded, folder, needs_ray=bool(known.missing) or not known.jobs) as tracker:
        links = {"uri": tracker.shown_uri, "command": tracker.ui_command()}
        results = ResultsFolder(folder, loaded, store, study.search.planned(study.axes) * len(study.seeds), links)
        results.write()
        with progress(console, list(known.missing), loaded.runtime.expected_slots) as screen:
            observer = Observer(loaded, screen, tracker, results)
            # Opened under the tracker's lock, for it takes the points of a run that still goes on for abandoned.
            proposer = study.search.open(study.axes, loaded.objectives, folder / f"search-{loaded.id}")
            board = Board(loaded, proposer, store, observer.result, observer.fail, observer.trial)
            board.max_open = None if known.jobs else 1
            try:
                _run_jobs(board, observer, loaded)
            except (KeyboardInterrupt, BdrayError) as error:
                reason = str(error) or "interrupted"
                observer.interrupt(board.running.values(), reason)
                tracker.finish_study(status="KILLED", reason=reason)
                raise
        results.write()
        report = build(folder)
        tracker.log_files(None, (*report.files, *results.files), "report")
        tracker.finish_study(status="FAILED" if results.failures else "FINISHED")
        return Outcome(report, len(results.failures), tracker.ui_command(), tracker.pending)


def known_plan(loaded: LoadedStudy, store: Store) -> Plan:
    """The plan of all points that are known beforehand: all of a grid, none of a search, whose ends are checked.

    Raises:
        BdrayError: If a point does not make an experiment that can run.
    """
    from bdray.study.search.grid import Grid

    if not isinstance(loaded.study.search, Grid):
        plan(loaded, (Proposal(number, point) for number, point in enumerate(probes(loaded.study.axes))), store)
        return Plan((), frozenset())
    proposer = loaded.study.search.open(loaded.study.axes, loaded.objectives, Path())
    return plan(loaded, iter(proposer.ask, None), store)


@contextmanager
def _tracker(loaded: LoadedStudy, folder: Path, *, needs_ray: bool) -> "Iterator[Tracker]":
    """Open the tracker and the study's run in it; meanwhile import Ray, for each takes seconds."""
    from bdray.tracking import Tracker

    study = loaded.study
    with ThreadPoolExecutor(1) as pool:
        importing = pool.submit(_import_ray) if needs_ray else None
        tracker = Tracker(loaded.runtime.tracking, folder / "untracked")
        if importing is not None:
            importing.result()
    with tracker:
        tracker.start_study(
            loaded.name,
            loaded.id,
            params=config.flatten(loaded.base),
            tags={"study": loaded.name, "source": study.source, "base": study.base, "commit": commit() or "unknown"},
            description=f"{study.title}. {study.question}",
        )
        yield tracker


def _import_ray() -> None:
    import ray.tune  # noqa: F401


def _run_jobs(board: Board, observer: Observer, loaded: LoadedStudy) -> None:
    """Let Tune run the board's jobs until there are none; with nothing to run, Ray is not even started."""
    first = board.next()
    if first is None:
        return
    from bdray.study import queue
    from bdray.study.cluster import cluster

    with cluster(loaded.runtime) as slots:
        board.max_open = board.max_open and slots
        queue.run(board, first, observer, loaded.runtime, slots)
