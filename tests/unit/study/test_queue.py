"""The bridge to Tune: how many jobs are open, which node gets which, and when one counts as started."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from bdray.pipeline.store import Store
from bdray.study.board import Board
from bdray.study.cluster import Slots
from bdray.study.observer import Observer
from bdray.study.plan import Job, Result
from bdray.study.queue import JobQueue, needs
from bdray.study.runner import known_plan
from bdray.study.runtime import Launch, Runtime
from bdray.study.search.grid import Grid
from bdray.study.search.meter import Meter
from bdray.study.spec import LoadedStudy, Trial


@dataclass
class Listener:
    """What the screen and the tracker would be told."""

    started: list[str] = field(default_factory=list)

    def start(self, job: Job) -> None:
        self.started.append(job.label)

    def result(self, result: Result) -> None: ...

    def fail(self, job: Job, reason: str) -> None: ...

    def trial(self, trial: Trial, result: Result | None, victim: Result | None) -> None: ...


@dataclass
class Room:
    """A cluster with so many slots."""

    slots: int

    def count(self) -> int:
        return self.slots


@dataclass
class Bridge:
    """A queue, and Tune's part played by hand."""

    queue: JobQueue
    listener: Listener
    room: Room
    meter: Meter
    compute: Callable[..., None]
    trials: int = 0

    def ask(self) -> str | None:
        """The id of another trial; None if there is no job for now."""
        self.trials += 1
        told = self.queue.suggest(str(self.trials))
        return str(self.trials) if isinstance(told, dict) else None

    def run(self, trial: str, node: str) -> str:
        """Let a trial begin and end on a node; its label."""
        job = self.queue._jobs[trial]
        self.queue.start(trial)
        self.queue.on_trial_result(trial, {"event": "finished", "node_ip": node})
        self.compute(job)
        self.queue.on_trial_complete(trial, {"event": "finished"})
        return job.label


@pytest.fixture
def bridge(grid: LoadedStudy, store: Store, compute: Callable[..., None]) -> Bridge:
    assert isinstance(grid.study.search, Grid)
    plan = known_plan(grid, store)
    for job in plan.jobs:
        if job.stage.name in ("pretrain", "victim"):
            compute(job)
    listener, room, meter = Listener(), Room(2), Meter()
    proposer = grid.study.search.open(grid.study.axes, grid.objectives, cast(Any, None))
    board = Board(grid, proposer, store, cast(Any, listener))
    first = board.next()
    assert first is not None
    queue = JobQueue(board, first, cast(Observer, listener), Runtime(), cast(Slots, room), meter)
    return Bridge(queue, listener, room, meter, compute)


def test_as_many_jobs_are_open_as_there_are_slots(bridge: Bridge) -> None:
    assert [bridge.ask() for _ in range(3)] == ["1", "2", None]
    bridge.room.slots = 3
    # A node has come.
    assert [bridge.ask(), bridge.ask()] == ["4", None]
    bridge.room.slots = 1
    bridge.run("1", "a")
    bridge.run("2", "a")
    # It has gone again, and what runs goes on.
    assert bridge.ask() is None


def test_a_job_has_started_when_it_has_a_process(bridge: Bridge) -> None:
    trial = bridge.ask()
    assert trial is not None
    # It waits for its node: nobody is told, and nothing is counted.
    assert (bridge.listener.started, bridge.meter.seconds) == ([], 0.0)
    bridge.queue.start(trial)
    bridge.queue.start(trial)  # again, after its process was lost
    assert len(bridge.listener.started) == 1
    assert bridge.meter.seconds > 0
    lost = bridge.ask()
    assert lost is not None
    # One that never had a process may fail, too.
    bridge.queue.on_trial_complete(lost, error=True)
    assert len(bridge.listener.started) == 1


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_search_pays_for_the_workers_that_a_job_is_given(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, num_workers: int
) -> None:
    bridge.queue._runtime = Runtime(training=Launch(num_workers=2, gpus_per_worker=3))
    monkeypatch.setattr(Job, "num_workers", lambda job, launch, store: num_workers)
    clock = 0.0
    monkeypatch.setattr("bdray.study.search.meter.time.monotonic", lambda: clock)
    trial = bridge.ask()
    assert trial is not None
    bridge.queue.start(trial)
    clock = 10.0
    assert bridge.meter.seconds == 10 * 3 * num_workers


def test_a_node_is_given_what_it_has_the_inputs_of(bridge: Bridge) -> None:
    first, second = bridge.ask(), bridge.ask()
    assert first is not None
    assert second is not None
    assert bridge.run(second, "b") == "λ₂=0 seed=1"
    third = bridge.ask()
    assert third is not None
    # The node that became free has the victim of seed 1; that of seed 0 would have come first.
    assert bridge.run(third, "b") == "λ₂=1 seed=1"


@pytest.mark.parametrize(
    ("launch", "expected"),
    [
        (Launch(cpus_per_worker=2, gpus_per_worker=0.5), {"CPU": 2.0, "GPU": 0.5}),
        (Launch(num_workers=2, gpus_per_worker=1), {"CPU": 0.01}),  # its workers reserve their own
    ],
)
def test_what_a_trial_reserves(launch: Launch, expected: dict[str, float]) -> None:
    from bdray import config

    told = {"training": config.dump(launch)}
    assert needs({"job": json.dumps(told)}).bundles == [expected]
