"""The bridge to Ray Tune: a searcher that hands out the board's jobs, one Tune trial each."""

import json
import logging
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray import tune
from ray.tune import FailureConfig, PlacementGroupFactory, RunConfig, TuneConfig, TuneError
from ray.tune.execution import class_cache
from ray.tune.search import Searcher

from bdray.exceptions import BdrayError
from bdray.study.board import Board
from bdray.study.cluster import Slots
from bdray.study.gate import Gate
from bdray.study.observer import Observer
from bdray.study.plan import Job
from bdray.study.runtime import WAITING_CPU, Launch, Runtime
from bdray.study.search.meter import Meter
from bdray.study.worker import launch_of, payload, run_trial

AWS_KEYS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}


class JobQueue(Searcher):
    """Suggests the next job that may run, and notes what became of it.

    Tune's own snapshots are off: the store remembers results, so there is nothing here to save or restore.
    """

    def __init__(
        self, board: Board, first: Job, observer: Observer, runtime: Runtime, slots: Slots, meter: Meter
    ) -> None:
        super().__init__(metric="training_iteration", mode="max")  # always there; not used
        self._board, self._first, self._observer, self._runtime = board, first, observer, runtime
        self._slots, self._meter = slots, meter
        self._gate = Gate() if board.loaded.study.search.watched else None
        self._jobs: dict[str, Job] = {}
        self._workers: dict[str, int] = {}
        """How many each trial was given."""
        self._started: set[str] = set()
        """Trials that have had a process; the others wait for the cluster."""
        self._at: dict[str, str] = {}
        """Address of the node of each trial."""
        self._held: dict[str, set[str]] = defaultdict(set)
        """Keys of the results that each node has made or read."""
        self._free = ""
        """The node whose slot became free last: the next job's, for its process is used again."""
        self._lost: dict[str, str] = {}
        """What a trial said when its process was lost; Tune starts it again."""
        self.error: BdrayError | OSError | None = None
        """What ended the study; Tune would hide it in a traceback, or go on."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The next job; None while all wait for running ones, or no slot is free; FINISHED at the end."""
        slots = self._slots.count()
        if len(self._jobs) >= slots:
            return None
        self._board.max_open = self._board.max_open and slots
        with self._remembered():
            job, self._first = self._first or self._board.next(self._held[self._free]), None  # type: ignore[assignment]
        if job is None:
            return Searcher.FINISHED if self._board.is_finished else None
        self._jobs[trial_id] = job
        if self._gate is not None:
            self._gate.open(job.key)
        workers = self._workers[trial_id] = job.num_workers(self._runtime.training, self._board.store)
        return {"job": json.dumps(payload(job, self._runtime, workers, self._gate.name if self._gate else None))}

    def start(self, trial_id: str) -> None:
        """A trial has a process, its first or another one."""
        if trial_id not in self._started:
            self._started.add(trial_id)
            job = self._jobs[trial_id]
            self._meter.start(job.key, self._workers[trial_id] * (self._runtime.training.gpus_per_worker or 1))
            self._observer.start(job)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass on an epoch, which may tell jobs to stop, and note why a process was lost."""
        job = self._jobs[trial_id]
        self._at[trial_id] = str(result.get("node_ip", ""))
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
        del self._workers[trial_id]
        self._free = self._at.pop(trial_id, "")
        self._held[self._free] |= {job.key, *job.needs}
        if error:
            tries = self._runtime.training.max_retries + 1
            reason = f"its process died {tries} times. Is there enough memory? Ray's logs tell more."
            if lost is not None:
                reason = f"it was tried {tries} times, each in a new process: {lost}"
        if trial_id in self._started:
            self._started.remove(trial_id)
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
    """Tells which trials have begun, and lets the observer catch up each time that Tune has looked around."""

    def __init__(self, queue: JobQueue, observer: Observer) -> None:
        self._queue, self._observer = queue, observer

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """See :meth:`JobQueue.start`."""
        self._queue.start(trial.trial_id)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """See :meth:`Observer.catch_up`."""
        self._observer.catch_up()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as above."""
        return {}


def needs(settings: dict[str, Any]) -> PlacementGroupFactory:
    """What a trial reserves: a worker's resources, or next to nothing where Ray Train reserves those of its workers."""
    launch = launch_of(json.loads(settings["job"]))
    if launch.nested:
        return PlacementGroupFactory([{"CPU": WAITING_CPU}])
    return PlacementGroupFactory([{"CPU": launch.cpus_per_worker, "GPU": launch.gpus_per_worker}])


def run(board: Board, first: Job, observer: Observer, runtime: Runtime, slots: Slots, meter: Meter) -> None:
    """Run all jobs of the board in warm processes, as many at a time as there are slots.

    Raises:
        BdrayError: If the store or the search's history cannot be used any more.
    """
    launch: Launch = runtime.training
    # The queue itself says how many are open. Those that wait for resources are what an autoscaler sees.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "100000"
    # Tune would send the keys along, and Ray write them into a log of each node. Nodes have keys of their own.
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(AWS_KEYS)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    queue = JobQueue(board, first, observer, runtime, slots, meter)
    with tempfile.TemporaryDirectory(prefix="bdray-tune-") as folder:
        tuner = tune.Tuner(
            tune.with_resources(run_trial, needs),
            tune_config=TuneConfig(
                search_alg=queue,
                num_samples=-1,
                reuse_actors=not launch.nested,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=RunConfig(
                name="study",
                storage_path=folder,
                verbose=0,
                callbacks=[Pulse(queue, observer)],
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
