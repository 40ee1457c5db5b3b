"""Run a study: plan, open store and tracker, let Tune run the jobs, write results."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bdray import config
from bdray.exceptions import BdrayError
from bdray.pipeline.place import Place
from bdray.pipeline.provenance import commit
from bdray.pipeline.store import Store
from bdray.report import Report, build
from bdray.report.study import Tracking
from bdray.study.board import Board
from bdray.study.labels import view
from bdray.study.observer import Observer
from bdray.study.plan import Plan, plan, trials
from bdray.study.progress import progress
from bdray.study.results import ResultsFolder, results_folder
from bdray.study.runtime import Runtime
from bdray.study.search.base import Home, Proposal
from bdray.study.search.meter import Meter
from bdray.study.space import probes
from bdray.study.spec import LoadedStudy
from bdray.study.study import Study
from bdray.tracking.location import Location

if TYPE_CHECKING:
    from bdray.tracking import Tracker


END = (KeyboardInterrupt, BdrayError, OSError)
"""What ends a study before it is done: somebody, a mistake, or the machine, such as one whose disk is full."""


@dataclass(frozen=True)
class Outcome:
    """What a run of a study left behind."""

    report: Report
    failures: int
    tracking: Tracking
    pending: int
    """Records that MLflow has not received yet."""
    limit: str
    """What ended a search, in words; empty for a grid."""
    damaged: tuple[str, ...]
    """What was found damaged in the store meanwhile, and why."""


def run(loaded: LoadedStudy, console: Console, say_plan: Callable[[Plan], None]) -> Outcome:
    """Run whatever of the study the store does not have, and report on all of it.

    Raises:
        BdrayError: If the study, the store, the tracker or the cluster cannot be used, before any training; or if the
            results cannot be written in the end.
    """
    folder, study = results_folder(loaded), loaded.study
    store = Store(loaded.runtime.store_uri, loaded.runtime.cache)
    check_places(loaded.runtime, store)
    damaged_before = store.damaged().keys()
    known = known_plan(loaded, store)
    say_plan(known)
    _check_data(loaded, known)
    with _tracker(loaded, folder, needs_ray=bool(known.missing) or not known.jobs) as tracker:
        results = ResultsFolder(folder, loaded, store, _planned_trials(study), _pages(tracker))
        with _told_if_it_ends(tracker):
            results.write()
            with progress(console, list(known.missing), loaded.runtime.expected_slots) as screen:
                observer, board = Observer(loaded, screen, tracker, results), None
                meter = loaded.runtime.training.meter
                try:
                    with closing(study.search.open(study.axes, loaded.objectives, _home(loaded, meter))) as proposer:
                        board = Board(loaded, proposer, store, observer, max_open=None if known.jobs else 1)
                        _run_jobs(board, observer, loaded, meter)
                except END as error:
                    observer.interrupt(board.running.values() if board else (), _words(error))
                    raise
            results.tracking = _pages(tracker, results.keys("trial"), results.keys("victim"))
            results.write()
            report = build(folder)
        tracker.log_files(None, (*report.files, *results.files), "report")
        tracker.finish_study(status="FAILED" if results.failures else "FINISHED")
        damaged = tuple(why for name, why in store.damaged().items() if name not in damaged_before)
        return Outcome(report, len(results.failures), results.tracking, tracker.pending, proposer.limit, damaged)


def check_places(runtime: Runtime, store: Store, *, leave_nothing: bool = False) -> None:
    """Refuse places that cannot be written, and a tracker of no known kind, before anything else takes its time.

    Raises:
        BdrayError: With the option, its value and the reason.
    """
    Location.parse(runtime.tracking)
    Place(str(runtime.output)).check_writable("output", leave_nothing=leave_nothing)
    store.check_writable(leave_nothing=leave_nothing)


@contextmanager
def _told_if_it_ends(tracker: "Tracker") -> Iterator[None]:
    """Let MLflow know what ended the study, or its run would look as if it went on for ever."""
    try:
        yield
    except END as error:
        tracker.finish_study(status="KILLED", reason=_words(error))
        raise


def _words(error: BaseException) -> str:
    return str(error) or "interrupted"


def known_plan(loaded: LoadedStudy, store: Store) -> Plan:
    """The plan of all points that are known beforehand: all of a grid, none of a search, whose ends are checked.

    Raises:
        BdrayError: If a point does not make an experiment that can run.
    """
    from bdray.study.search.grid import Grid

    if not isinstance(loaded.study.search, Grid):
        plan(loaded, (Proposal(number, point) for number, point in enumerate(probes(loaded.study.axes))), store)
        return Plan((), frozenset())
    proposer = loaded.study.search.open(loaded.study.axes, loaded.objectives, _home(loaded, Meter()))
    return plan(loaded, iter(proposer.ask, None), store)


def _check_data(loaded: LoadedStudy, known: Plan) -> None:
    """Refuse a run whose data are not here; what is in the store already needs none."""
    experiments = {job.stage.experiment for job in known.missing}
    if not known.jobs:
        points = (Proposal(number, point) for number, point in enumerate(probes(loaded.study.axes)))
        experiments = {trial.experiment for point in points for trial in trials(loaded, point)}
    # Of many points that differ in something else one is asked.
    for experiment in {(one.data, one.evaluation): one for one in experiments}.values():
        experiment.check_readable()


def _planned_trials(study: Study) -> int | None:
    points = study.search.planned(study.axes)
    return None if points is None else points * len(study.seeds)


def _home(loaded: LoadedStudy, meter: Meter) -> Home:
    folder = results_folder(loaded) / f"search-{loaded.id}"
    return Home(f"bdray-{loaded.id}", folder, loaded.runtime.search_storage, meter)


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
            tags={
                "study": loaded.name,
                "source": study.source,
                "base": study.base,
                "commit": commit() or "unknown",
                "report": str(folder / "report.html"),
            },
            description=f"{study.title}. {study.question}",
            view=view(loaded),
            report="report/report.html",
        )
        yield tracker


def _pages(tracker: "Tracker", trials: Sequence[str] = (), victims: Sequence[str] = ()) -> Tracking:
    """Where MLflow has the study and, if all can open them, the runs of these models."""
    pages = {key: tracker.run_url(key) for key in (*victims, *trials)} if tracker.is_server else {}
    return Tracking(
        uri=tracker.shown_uri,
        command=tracker.ui_command(),
        table=tracker.table_url() or "",
        charts=tracker.charts_url() or "",
        compare=tracker.compare_url(trials) or "",
        runs={key: page for key, page in pages.items() if page},
    )


def _import_ray() -> None:
    import ray.tune  # noqa: F401


def _run_jobs(board: Board, observer: Observer, loaded: LoadedStudy, meter: Meter) -> None:
    """Let Tune run the board's jobs until there are none; with nothing to run, Ray is not even started."""
    first = board.next()
    if first is None:
        return
    from bdray.study import queue
    from bdray.study.cluster import cluster

    with cluster(loaded.runtime) as slots:
        queue.run(board, first, observer, loaded.runtime, slots, meter)
