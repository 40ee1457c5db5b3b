"""Which job may run next. Pure bookkeeping: it knows neither Ray nor the clock."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from bdray.pipeline.stages import PoisonVictim
from bdray.pipeline.store import Store
from bdray.study.plan import Job, Result, jobs, trials
from bdray.study.search.base import Proposal, Proposer, Pruned
from bdray.study.spec import LoadedStudy, Trial
from bdray.study.waiting import Waiting


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

    number: int
    """Counted up, as points come."""
    proposal: Proposal
    trials: list[Trial]
    chains: list[list[Job]]
    """Each trial's jobs."""
    open: set[str] = field(default_factory=set)
    """Keys of the trials' last jobs, as far as they have not ended."""

    @cached_property
    def last(self) -> list[Job]:
        """Each trial's last job; the first seed's is judged."""
        return [chain[-1] for chain in self.chains]

    @property
    def victims(self) -> list[Job | None]:
        """Each trial's victim, itself where nothing is defended; None where a defense trains in its place."""
        found = [[job for job in chain if isinstance(job.stage, PoisonVictim)] for chain in self.chains]
        return [victims[0] if victims else None for victims in found]


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
    waiting: Waiting = field(default_factory=Waiting)
    running: dict[str, Job] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    """Keys of the jobs whose results are in the store."""
    failures: dict[str, str] = field(default_factory=dict)
    """Reason by key."""
    stopped: set[str] = field(default_factory=set)
    """Keys of running jobs that were told to stop."""
    _pruned: dict[str, Pruned] = field(default_factory=dict)
    """By the key of the job that was judged."""
    _points: dict[int, _Point] = field(default_factory=dict)
    _by_key: dict[str, dict[int, _Point]] = field(default_factory=dict)
    """The points that need a job, their own last ones and all before."""
    _results: dict[str, Result] = field(default_factory=dict)
    """Of jobs that points need; the others are forgotten, for a study may have thousands, and the store has them."""
    _ended: dict[int, _Point] = field(default_factory=dict)
    """Points all of whose trials have ended, to be told."""
    _num_points: int = 0
    _exhausted: bool = False

    def next(self, at_hand: Container[str] = ()) -> Job | None:
        """A job that may run now, the costliest first so that the end is even; None if there is none for now.

        Args:
            at_hand: Keys of results that the node has which will run it; of equal jobs one that needs these is better.
        """
        while True:
            job = self.waiting.next(at_hand)
            if job is not None:
                self.running[job.key] = job
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
        if self.max_open is None:
            return False
        return sum(job.key in point.open for point in self._points.values() for job in point.last) >= self.max_open

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to run and nothing is running."""
        return self._exhausted and not self.waiting and not self.running

    def judge(self, key: str, metrics: Mapping[str, Any]) -> list[str]:
        """Show the search an epoch of a running job; keys of the running jobs that are to stop because of it."""
        needing = self._needing(key)
        judged = [point for point in needing if point.last[0].key == key]
        if not judged or len(judged) < len(needing):  # the others need the result, whatever it is
            return []
        is_last = int(metrics["epoch"]) >= self.running[key].epochs
        pruned = self.proposer.judge(judged[0].proposal, metrics, is_last=is_last)
        if pruned is None:
            return []
        self._pruned[key] = pruned
        for point in judged:
            self._close(point)
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

    def _add(self, proposal: Proposal) -> None:
        found = trials(self.loaded, proposal)
        chains = [jobs(trial) for trial in found]
        first = chains[0][-1].key
        if proposal.pruned is not None:
            self._pruned[first] = proposal.pruned
            self.listener.prune(found[0], proposal.pruned)
        elif first in self._pruned and first not in self.finished:  # the same model under another name
            self.proposer.prune(proposal, self._pruned[first])
            self.listener.prune(found[0], self._pruned[first])
        elif not proposal.is_elsewhere or all(job.find(self.store) for chain in chains for job in chain):
            self._open(_Point(self._num_points, proposal, found, chains))

    def _open(self, point: _Point) -> None:
        self._num_points += 1
        self._points[point.number] = point
        point.open = {job.key for job in point.last if job.key not in self.finished and job.key not in self.failures}
        if not point.open:
            self._ended[point.number] = point
        for chain in point.chains:
            for job in chain:
                self._by_key.setdefault(job.key, {})[point.number] = point
            self._queue(chain)
        self._tell()

    def _needing(self, key: str) -> list[_Point]:
        """The points among whose trials' jobs it is."""
        return list(self._by_key.get(key, {}).values())

    def _close(self, point: _Point) -> None:
        """Forget a point, and the results that no other one needs."""
        del self._points[point.number]
        for key in {job.key for chain in point.chains for job in chain}:
            del self._by_key[key][point.number]
            if not self._by_key[key]:
                del self._by_key[key]
                self._results.pop(key, None)

    def _queue(self, chain: Sequence[Job]) -> None:
        """Let jobs run that are not known yet, unless the store has them or their inputs failed."""
        known = (self.waiting, self.running, self.finished, self.failures)
        for job in chain:
            if any(job.key in keys for keys in known):
                continue
            result = job.find(self.store)
            if result is not None:
                self._take(result)
            elif broken := [key for key in job.needs if key in self.failures]:
                self._fail(job, f"needs a stage that failed: {self.failures[broken[0]]}")
            else:
                self.waiting.add(job, self.finished)

    def _take(self, result: Result) -> None:
        key = result.job.key
        self.finished.add(key)
        if key in self._by_key:
            self._results[key] = result
        self.waiting.finish(key)
        self._note_end(key)
        self.listener.result(result)

    def _note_end(self, key: str) -> None:
        for point in self._needing(key):
            point.open.discard(key)
            if not point.open:
                self._ended[point.number] = point

    def _fail(self, job: Job, reason: str) -> None:
        self.failures[job.key] = reason
        self._note_end(job.key)
        self.listener.fail(job, reason)
        for other in self.waiting.needing(job.key):
            if other.key in self.waiting:
                self.waiting.remove(other.key)
                self._fail(other, f"{job.label} failed: {reason}")

    def _drop(self, keys: Iterable[str]) -> list[str]:
        """Give up the jobs that no point needs any more; keys of those that run."""
        idle = {key for key in keys if key not in self._by_key}
        for key in idle & self.waiting.keys():
            self.waiting.remove(key)
        leaving = sorted(idle & self.running.keys())
        self.stopped.update(leaving)
        return leaving

    def _leave(self, job: Job) -> None:
        """A job that was told to stop has ended; it goes on where a point needs it that came up since."""
        self.stopped.discard(job.key)
        if job.key in self._by_key:
            self.waiting.add(job, self.finished)
        else:
            self.listener.stop(job)

    def _tell(self) -> None:
        """Close the points all of whose trials have ended."""
        ended = [self._ended.pop(number) for number in sorted(self._ended)]
        for point in ended:
            found = [self._recall(job) for job in point.last]
            victims = [self._recall(job) if job else None for job in point.victims]
            for trial, result, victim in zip(point.trials, found, victims, strict=True):
                self.listener.trial(trial, result, victim)
            self._show_epochs(point, found[0])
            self.proposer.tell(point.proposal, _mean(found), _mean(victims))
            self._close(point)

    def _recall(self, job: Job) -> Result | None:
        """The result of a job that has ended; None if it failed."""
        if job.key not in self.finished:
            return None
        if job.key not in self._results:  # it was forgotten before this point came up
            found = job.find(self.store)
            if found is None:
                return None
            self._results[job.key] = found
        return self._results[job.key]

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
