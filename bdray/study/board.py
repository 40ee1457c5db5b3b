"""Which job may run next. Pure bookkeeping: it knows neither Ray nor the clock."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bdray.pipeline.stages import PoisonVictim
from bdray.pipeline.store import Store
from bdray.study.plan import Job, Result, jobs, trials
from bdray.study.search.base import Proposal, Proposer, Pruned
from bdray.study.spec import LoadedStudy, Trial


class Listener(Protocol):
    """Told what becomes of jobs and trials."""

    def result(self, result: Result) -> None:
        """Called once for every distinct result, also for those from the store."""
        ...

    def fail(self, job: Job, reason: str) -> None:
        """Called for every job that failed or cannot be run for a failed input."""
        ...

    def stop(self, job: Job) -> None:
        """Called for every job that left early because it was told to."""
        ...

    def trial(self, trial: Trial, result: Result | None, victim: Result | None) -> None:
        """Called once for every trial that ended, with its result and its victim's; None for what failed."""
        ...

    def prune(self, trial: Trial, pruned: Pruned) -> None:
        """Called with the first seed's trial of every point that was stopped early, now or in an earlier run."""
        ...


@dataclass
class _Point:
    """A proposal that is not told yet."""

    proposal: Proposal
    trials: list[Trial]
    chains: list[list[Job]]
    """Each trial's jobs."""

    @property
    def keys(self) -> list[str]:
        """Key of each trial's last job."""
        return [chain[-1].key for chain in self.chains]

    @property
    def victims(self) -> list[str]:
        """Key of each trial's victim, itself where nothing is defended; empty where a defense trains in its place."""
        found = [[job.key for job in chain if isinstance(job.stage, PoisonVictim)] for chain in self.chains]
        return [keys[0] if keys else "" for keys in found]

    def needs(self, key: str) -> bool:
        """Whether a job is among those of its trials."""
        return any(job.key == key for chain in self.chains for job in chain)


@dataclass
class Board:
    """Hands out jobs whose inputs are finished, and tells the search what came of its points.

    A job that several trials need is handed out once; all of them wait for it. What the store has already is
    never handed out.
    """

    loaded: LoadedStudy
    proposer: Proposer
    store: Store
    listener: Listener
    max_open: int | None = None
    """Trials that may be open when another point is asked for, so that a search chooses its last points by what its
    first ones gave. None asks for all at once, which suits a grid."""
    waiting: dict[str, Job] = field(default_factory=dict)
    running: dict[str, Job] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """Reason by key."""
    stopped: set[str] = field(default_factory=set)
    """Keys of running jobs that were told to stop."""
    _pruned: dict[str, Pruned] = field(default_factory=dict)
    """By the key of the job that was judged."""
    _points: list[_Point] = field(default_factory=list)
    _exhausted: bool = False

    def next(self) -> Job | None:
        """A job that may run now, the costliest first so that the end is even; None if there is none for now."""
        while True:
            ready = [job for job in self.waiting.values() if all(key in self.results for key in job.needs)]
            if ready:
                job = max(ready, key=lambda job: (self._upstream(job), job.images))
                self.running[job.key] = self.waiting.pop(job.key)
                return job
            if self._exhausted or self._is_full:
                return None
            proposal = self.proposer.ask()
            if proposal is None:
                self._exhausted = True
                return None
            self._add(proposal)

    @property
    def _is_full(self) -> bool:
        keys = [key for point in self._points for key in point.keys]
        is_open = [key not in self.results and key not in self.failures for key in keys]
        return self.max_open is not None and sum(is_open) >= self.max_open

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to run and nothing is running."""
        return self._exhausted and not self.waiting and not self.running

    def judge(self, key: str, metrics: Mapping[str, Any]) -> list[str]:
        """Show the search an epoch of a running job; keys of the running jobs that are to stop because of it."""
        judged = [point for point in self._points if point.keys[0] == key]
        others = [point for point in self._points if point.keys[0] != key]
        if not judged or any(point.needs(key) for point in others):  # these need the result, whatever it is
            return []
        is_last = int(metrics["epoch"]) >= self.running[key].epochs
        pruned = self.proposer.judge(judged[0].proposal, metrics, is_last=is_last)
        if pruned is None:
            return []
        self._pruned[key], self._points = pruned, others
        for point in judged[1:]:
            self.proposer.prune(point.proposal, pruned)
        for point in judged:
            self.listener.prune(point.trials[0], pruned)
        return self._drop(job.key for point in judged for chain in point.chains for job in chain)

    def finish(self, key: str) -> None:
        """Note that a running job has put its result into the store, or left early because it was told to."""
        job = self.running.pop(key)
        result = job.find(self.store)
        if result is not None:
            self.stopped.discard(key)
            self._take(result)
        elif key in self.stopped:
            self._leave(job)
        else:
            self._fail(job, "ended without a result in the store")
        self._tell()

    def fail(self, key: str, reason: str) -> None:
        """Note that a running job failed, and with it all that needs it."""
        job = self.running.pop(key)
        if key in self.stopped:
            self._leave(job)
        else:
            self._fail(job, reason)
        self._tell()

    def _upstream(self, job: Job) -> bool:
        """Whether other jobs wait for this one; those go first."""
        return any(job.key in other.needs for other in self.waiting.values())

    def _add(self, proposal: Proposal) -> None:
        found = trials(self.loaded, proposal)
        point = _Point(proposal, found, [jobs(trial) for trial in found])
        first = point.keys[0]
        if proposal.pruned is not None:
            self._pruned[first] = proposal.pruned
            self.listener.prune(found[0], proposal.pruned)
        elif first in self._pruned and first not in self.results:  # the same model under another name
            self.proposer.prune(proposal, self._pruned[first])
            self.listener.prune(found[0], self._pruned[first])
        elif not proposal.is_elsewhere or all(job.find(self.store) for chain in point.chains for job in chain):
            self._points.append(point)
            for chain in point.chains:
                self._queue(chain)
            self._tell()

    def _queue(self, chain: Sequence[Job]) -> None:
        """Let jobs run that are not known yet, unless the store has them or their inputs failed."""
        known = (self.waiting, self.running, self.results, self.failures)
        for job in chain:
            if any(job.key in jobs_by_key for jobs_by_key in known):
                continue
            result = job.find(self.store)
            if result is not None:
                self._take(result)
            elif broken := [key for key in job.needs if key in self.failures]:
                self._fail(job, f"needs a stage that failed: {self.failures[broken[0]]}")
            else:
                self.waiting[job.key] = job

    def _take(self, result: Result) -> None:
        self.results[result.job.key] = result
        self.listener.result(result)

    def _fail(self, job: Job, reason: str) -> None:
        self.failures[job.key] = reason
        self.listener.fail(job, reason)
        for other in [other for other in self.waiting.values() if job.key in other.needs]:
            if other.key in self.waiting:
                del self.waiting[other.key]
                self._fail(other, f"{job.label} failed: {reason}")

    def _drop(self, keys: Iterable[str]) -> list[str]:
        """Give up the jobs that no point needs any more; keys of those that run."""
        idle = {key for key in keys if not any(point.needs(key) for point in self._points)}
        for key in idle & self.waiting.keys():
            del self.waiting[key]
        leaving = sorted(idle & self.running.keys())
        self.stopped.update(leaving)
        return leaving

    def _leave(self, job: Job) -> None:
        """A job that was told to stop has ended; it goes on where a point needs it that came up since."""
        self.stopped.discard(job.key)
        if any(point.needs(job.key) for point in self._points):
            self.waiting[job.key] = job
        else:
            self.listener.stop(job)

    def _tell(self) -> None:
        """Close the points all of whose trials have ended."""
        open_points = []
        for point in self._points:
            if not all(key in self.results or key in self.failures for key in point.keys):
                open_points.append(point)
                continue
            found = [self.results.get(key) for key in point.keys]
            victims = [self.results.get(key) for key in point.victims]
            for trial, result, victim in zip(point.trials, found, victims, strict=True):
                self.listener.trial(trial, result, victim)
            self._show_epochs(point, found[0])
            self.proposer.tell(point.proposal, _mean(found), _mean(victims))
        self._points = open_points

    def _show_epochs(self, point: _Point, result: Result | None) -> None:
        """Let the search see all epochs of a finished point: it has not, where the store had the result."""
        for epoch in result.model["history"] if result is not None else ():
            self.proposer.judge(point.proposal, epoch, is_last=True)


def _mean(found: Sequence[Result | None]) -> Mapping[str, float] | None:
    """The metrics averaged over seeds, as far as every seed has them; None if one has no result."""
    rows = [result.metrics for result in found if result is not None]
    if len(rows) < len(found):
        return None
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0] if all(name in row for row in rows)}
