"""Run a study: plan, open store and tracker, let Tune run the jobs, write results."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bdray import config
from bdray.pipeline.store import Store
from bdray.study.board import Board
from bdray.study.observer import Observer
from bdray.study.plan import Job, Plan, plan
from bdray.study.progress import progress
from bdray.study.results import ResultsFolder, results_folder
from bdray.study.spec import LoadedStudy


@dataclass(frozen=True)
class Outcome:
    """What a run of a study left behind."""

    folder: Path
    failures: int
    ui_command: str
    pending: int
    """Records that MLflow has not received yet."""


def run(loaded: LoadedStudy, console: Console, say_plan: Callable[[Plan], None]) -> Outcome:
    """Run whatever of the study the store does not have, and write its results.

    Raises:
        BdrayError: If the study, the store, the tracker or the cluster cannot be used; before any training.

    """
    from bdray.tracking import Tracker, redact

    runtime, folder = loaded.runtime, results_folder(loaded)
    store = Store(runtime.store_uri, runtime.cache)
    store.check_writable()
    search = loaded.study.search
    proposer = search.open(loaded.study.axes, loaded.objectives, folder)
    known = known_plan(loaded, store)
    say_plan(known)
    with ThreadPoolExecutor(1) as pool:  # MLflow and Ray take seconds each to import
        importing = pool.submit(_import_ray) if known.missing or search.type != "grid" else None
        tracker = Tracker(runtime.tracking, folder / "untracked")
        if importing:
            importing.result()
    try:
        study = loaded.study
        tags = {"study": loaded.name, "source": study.source, "base": study.base}
        tracker.start_study(
            loaded.name,
            loaded.id,
            params=config.flatten(loaded.base),
            tags=tags,
            description=f"{study.title}. {study.question}",
        )
        planned = search.planned(study.axes) * len(study.seeds)
        links = {"uri": redact(runtime.tracking), "command": tracker.ui_command()}
        results = ResultsFolder(folder, loaded, planned, links)
        results.write(finished=False)
        with progress(console, list(known.missing)) as screen:
            observer = Observer(loaded, screen, tracker, results)
            board = Board(loaded, proposer, store, observer.result, observer.fail, observer.trial)
            first = board.next()
            if first is not None:
                _run_jobs(board, first, observer, loaded)
        results.write(finished=True)
        tracker.finish_study(status="FAILED" if results.failures else "FINISHED")
        return Outcome(folder, len(results.failures), tracker.ui_command(), tracker.pending)
    finally:
        tracker.close()


def known_plan(loaded: LoadedStudy, store: Store) -> Plan:
    """The plan of all points that are known beforehand: all of a grid, none of a search."""
    from bdray.study.search.grid import Grid

    if not isinstance(loaded.study.search, Grid):
        return plan(loaded, (), store)
    proposer = loaded.study.search.open(loaded.study.axes, loaded.objectives, Path())
    return plan(loaded, iter(proposer.ask, None), store)


def track_report(loaded: LoadedStudy, files: tuple[Path, ...]) -> None:
    """Put the report's files among the artifacts of the study's MLflow run."""
    from bdray.tracking import Tracker

    with Tracker(loaded.runtime.tracking, results_folder(loaded) / "untracked") as tracker:
        study = loaded.study
        tracker.start_study(loaded.name, loaded.id, params={}, tags={}, description=f"{study.title}. {study.question}")
        tracker.log_files(None, files, "report")


def _import_ray() -> None:
    import ray.tune  # noqa: F401


def _run_jobs(board: Board, first: Job, observer: Observer, loaded: LoadedStudy) -> None:
    """Let Tune run the board's jobs until there are none."""
    from bdray.study import queue
    from bdray.study.cluster import cluster

    with cluster(loaded.runtime) as slots:
        queue.run(board, first, observer, loaded.runtime, slots)
