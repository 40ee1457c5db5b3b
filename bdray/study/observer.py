"""What happens to jobs, passed on to the screen, the tracker and the results folder."""

import logging
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bdray import config
from bdray.exceptions import DataError
from bdray.pipeline.provenance import commit
from bdray.study.inputs import inputs
from bdray.study.labels import DIGITS, SPLIT_TAG, curve_name, knob_params, result_names
from bdray.study.plan import Job, Result, jobs
from bdray.study.progress import Progress
from bdray.study.results import ResultsFolder
from bdray.study.search.base import Pruned
from bdray.study.space import show
from bdray.study.spec import LoadedStudy, Trial

if TYPE_CHECKING:
    from bdray.tracking import Tracker

_log = logging.getLogger(__name__)

PARAMS = {
    "pretrain": ("data", "model", "pretrain"),
    "trigger": ("data", "model", "pretrain", "attack"),
    "victim": ("data", "model", "pretrain", "attack", "victim", "seed"),
    "defend": ("data", "model", "pretrain", "attack", "victim", "defense", "seed"),
}
"""Parts of the experiment that a stage's run shows as its parameters."""
PRUNED_TAG = "pruned"
"""Tag of runs that were stopped early. Their status is KILLED, as that of interrupted ones, so that they go on where a
point needs them after all; ``tags.pruned = 'true'`` finds them in MLflow's search field."""


WRITE_SECONDS = 5.0
"""From one writing of the folder of results to the next."""


class Observer:
    """Passes on what happens to jobs. All of it runs on the driver, the only writer of the tracker."""

    def __init__(self, loaded: LoadedStudy, screen: Progress, tracker: "Tracker", results: ResultsFolder) -> None:
        self._loaded, self._screen, self._tracker, self._results = loaded, screen, tracker, results
        self._opened: set[str] = set()
        self._stopped: set[str] = set()
        """Keys of jobs that were stopped early."""
        self._is_warned = False
        self._is_behind, self._next_write = False, 0.0
        """Whether the folder of results lacks something, and when it may be written next."""

    def start(self, job: Job) -> None:
        """A job was handed to a worker."""
        self._screen.start(job)
        if job.key in self._stopped:  # it goes on, for a point needs it after all
            self._stopped.discard(job.key)
            self._opened.discard(job.key)
        self._open_run(job)

    def epoch(self, job: Job, metrics: Mapping[str, Any]) -> None:
        """A job finished an epoch, or tells of one that it finished before it was interrupted."""
        if "resumed" not in metrics:
            self._screen.epoch(job, metrics)
        self._tracker.log(job.key, int(metrics["epoch"]), self._measured(metrics))

    def result(self, result: Result) -> None:
        """A job's result is in the store, now or since an earlier run."""
        job = result.job
        self._screen.finish(job, result)
        started, ended = self._times(result)
        self._open_run(job, started)
        for epoch in result.model["history"]:  # those that an interrupted run could not log
            self._tracker.log(job.key, int(epoch["epoch"]), self._measured(epoch))
        short = {label: name for name, label in result_names(self._loaded).items() if name in result.metrics}
        metrics = {label: round(result.metrics[name], DIGITS) for label, name in short.items()}
        metrics |= {f"{job.split}/{name}": value for name, value in result.metrics.items()}
        for part in ("poisoning", "clean_data"):  # counts and shares, as they came out
            metrics |= {f"{part}/{name}": value for name, value in result.model.get(part, {}).items()}
        self._tracker.finish(job.key, status="FINISHED", metrics=metrics, ended=ended)

    def fail(self, job: Job, reason: str) -> None:
        """A job failed for good."""
        self._screen.fail(job, reason)
        self._open_run(job)
        self._tracker.finish(job.key, status="FAILED", reason=reason)
        self._results.failures.append({"trial": job.label, "reason": reason})

    def trace(self, job: Job, traceback: str) -> None:
        """Keep the traceback of a failure that nobody foresaw, for whoever has to mend it."""
        try:
            self._results.add_traceback(job.label, traceback)
        except OSError as error:
            _log.warning("%s: its traceback cannot be written: %s", job.label, error)

    def trial(self, trial: Trial, result: Result | None, victim: Result | None) -> None:
        """A trial of the study has ended."""
        if victim is not None and trial.experiment.defense is not None:
            self._results.add_victim(trial, victim)
        if result is not None:
            self._results.add_trial(trial, result)
        self._note_change()

    def stop(self, job: Job) -> None:
        """A job left early because it was told to."""
        self._screen.stop(job)
        if job.key not in self._stopped:  # else it is the one that was judged, whose run says more
            self._end_early(job, "stopped early, with the first seed of its point")

    def prune(self, trial: Trial, pruned: Pruned) -> None:
        """A point of the search was stopped early, now or in an earlier run."""
        job = jobs(trial)[-1]
        self._open_run(job)
        for epoch in pruned.history:
            self._tracker.log(job.key, int(epoch["epoch"]), self._measured(epoch))
        self._end_early(job, f"stopped early, after epoch {pruned.epoch} of {job.epochs}")
        self._results.add_pruned(trial, pruned)
        self._note_change()

    def _note_change(self) -> None:
        self._is_behind = True
        self.catch_up()

    def catch_up(self) -> None:
        """Write the results so far, if they are not written and it is a while since they were.

        All of them are written each time, which takes longer the more there are; and the store has them anyway.
        """
        if self._is_behind and time.monotonic() >= self._next_write:
            self._write()
            self._next_write = time.monotonic() + WRITE_SECONDS

    def _write(self) -> None:
        """Write the results so far. Trouble, of which one is told once, is no reason to stop: the next time has all."""
        try:
            self._results.write()
            self._is_behind = False
        except DataError as error:
            if not self._is_warned:
                _log.warning("%s This run goes on, and tries again.", error)
            self._is_warned = True

    def _end_early(self, job: Job, reason: str) -> None:
        self._stopped.add(job.key)
        self._tracker.finish(job.key, status="KILLED", reason=reason, tags={PRUNED_TAG: "true"})

    def interrupt(self, jobs: Iterable[Job], reason: str) -> None:
        """The study was stopped while these ran; running it again opens their runs again."""
        for job in jobs:
            if job.key in self._opened:
                self._tracker.finish(job.key, status="KILLED", reason=reason)
        if self._is_behind:
            self._write()

    def _times(self, result: Result) -> tuple[float | None, float | None]:
        """When a result of an earlier run was computed; of this run's, MLflow sees for itself."""
        if result.job.key in self._opened:
            return None, None
        return result.model["started"], result.model["started"] + result.model["seconds"]

    def _open_run(self, job: Job, started: float | None = None) -> None:
        if job.key in self._opened:
            return
        self._opened.add(job.key)
        experiment = job.stage.experiment
        tree = config.dump(experiment)
        settings = config.flatten({field: tree[field] for field in PARAMS[job.stage.name]})
        knobs = knob_params(self._loaded.study.axes, job.point)
        params = knobs | {path: value for path, value in settings.items() if path not in job.point}
        tags = {
            "stage": job.stage.name,
            "study": self._loaded.name,
            "source": self._loaded.study.source,
            "attack": experiment.attack.trigger.type,
            "defense": experiment.defense.type if experiment.defense and job.stage.name == "defend" else "none",
            "commit": commit() or "unknown",
            "data": experiment.data.fingerprint("finetune" if job.stage.name == "defend" else "train"),
            "inputs": " ".join(f"{stage.name}={stage.key}" for stage in job.stage.inputs),
            "knobs": " ".join(f"{path}={show(value)}" for path, value in job.point.items()),
            "report": str(self._results.folder / "report.html"),
        }
        if job.evaluation:
            tags[SPLIT_TAG] = job.split
        if self._loaded.study.search.watched:
            tags[PRUNED_TAG] = "false"
        self._tracker.start_run(
            job.key,
            job.label,
            params=params,
            tags=tags,
            inputs=inputs(job),
            nested=job.stage.name == "defend",
            started=started,
        )

    def _measured(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """The numbers of an epoch, the study's own metrics first: MLflow's comparison starts with the first one."""
        curves = {curve_name(label): metrics.get(name) for name, label in result_names(self._loaded).items()}
        names = [name for name in (*self._loaded.objectives, *metrics) if name not in ("epoch", "resumed")]
        numbers = {**curves, **{name: metrics.get(name) for name in names}}
        return {name: value for name, value in numbers.items() if isinstance(value, int | float)}
