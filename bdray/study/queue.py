"""The bridge to Ray Tune: a searcher that hands out the board's jobs, one Tune trial each."""

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray import tune
from ray.tune import FailureConfig, RunConfig, TuneConfig, TuneError
from ray.tune.search import Searcher

from bdray.exceptions import BdrayError
from bdray.study.board import Board
from bdray.study.cluster import WAITING_CPU
from bdray.study.gate import Gate
from bdray.study.observer import Observer
from bdray.study.plan import Job
from bdray.study.runtime import Runtime
from bdray.study.search.meter import Meter
from bdray.study.worker import payload, run_trial


class JobQueue(Searcher):
    """Suggests the next job that may run, and notes what became of it.

    Tune's own snapshots are off: the store remembers results, so there is nothing here to save or restore.
    """

    def __init__(self, board: Board, first: Job, observer: Observer, runtime: Runtime, meter: Meter) -> None:
        super().__init__(metric="training_iteration", mode="max")  # always there; not used
        self._board, self._first, self._observer, self._runtime = board, first, observer, runtime
        self._meter = meter
        self._gate = Gate() if board.loaded.study.search.watched else None
        self._jobs: dict[str, Job] = {}
        self._lost: dict[str, str] = {}
        """What a trial said when its process was lost; Tune starts it again."""
        self.error: BdrayError | OSError | None = None
        """What ended the study; Tune would hide it in a traceback, or go on."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The next job; None while all wait for running ones; FINISHED at the end."""
        with self._remembered():
            job, self._first = self._first or self._board.next(), None  # type: ignore[assignment]
        if job is None:
            return Searcher.FINISHED if self._board.is_finished else None
        self._jobs[trial_id] = job
        self._meter.start(job.key)
        if self._gate is not None:
            self._gate.open(job.key)
        self._observer.start(job)
        return {"job": json.dumps(payload(job, self._runtime, self._gate.name if self._gate else None))}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass on an epoch, which may tell jobs to stop, and note why a process was lost."""
        job = self._jobs[trial_id]
        if result.get("event") == "epoch":
            metrics = json.loads(result["metrics"])
            self._observer.epoch(job, metrics)
            if self._gate is not None:
                with self._remembered():
                    stopped = self._board.judge(job.key, metrics)
                self._gate.answer(job.key, int(metrics["epoch"]), stopped)
        elif result.get("event") == "lost":
            self._observer.trace(job, result["traceback"])
            self._lost[trial_id] = result["reason"]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Move the job to where it belongs: the last thing that its trial said tells how it ended."""
        job, lost = self._jobs.pop(trial_id), self._lost.pop(trial_id, None)
        reason = None
        if result is not None and result.get("event") == "failed":
            reason = result["reason"]
            if "traceback" in result:
                self._observer.trace(job, result["traceback"])
        if error:
            tries = self._runtime.training.max_retries + 1
            reason = f"its process died {tries} times. Is there enough memory? Ray's logs tell more."
            if lost is not None:
                reason = f"it was tried {tries} times, each in a new process: {lost}"
        self._meter.stop(job.key)
        with self._remembered():
            if reason is None:
                self._board.finish(job.key)
            else:
                self._board.fail(job.key, reason)

    @contextmanager
    def _remembered(self) -> Iterator[None]:
        """Keep what ends the study, and end it whatever Tune makes of it: nothing follows an error."""
        if self.error is not None:
            raise self.error
        try:
            yield
        except (BdrayError, OSError) as error:
            self.error = error
            raise

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its settings for a restore that we do not use."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing to save."""


class Pulse(tune.Callback):
    """Lets the observer catch up with what it put off, each time that Tune has looked around."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """See :meth:`Observer.catch_up`."""
        self._observer.catch_up()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as above."""
        return {}


def run(board: Board, first: Job, observer: Observer, runtime: Runtime, slots: int, meter: Meter) -> None:
    """Run all jobs of the board, ``slots`` at a time, in warm processes.

    Raises:
        BdrayError: If the store or the search's history cannot be used any more.
    """
    launch = runtime.training
    # A nested trial's own process only waits; Ray Train reserves what its workers need.
    needs = {"CPU": WAITING_CPU} if launch.nested else {"CPU": launch.cpus_per_worker, "GPU": launch.gpus_per_worker}
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    queue = JobQueue(board, first, observer, runtime, meter)
    with tempfile.TemporaryDirectory(prefix="bdray-tune-") as folder:
        tuner = tune.Tuner(
            tune.with_resources(run_trial, needs),
            tune_config=TuneConfig(
                search_alg=queue,
                num_samples=-1,
                max_concurrent_trials=slots,
                reuse_actors=not launch.nested,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=RunConfig(
                name="study",
                storage_path=folder,
                verbose=0,
                callbacks=[Pulse(observer)],
                failure_config=FailureConfig(max_failures=launch.max_retries),
            ),
        )
        try:
            tuner.fit()
        except TuneError:
            if queue.error is None:
                raise
        if queue.error is not None:
            raise queue.error
