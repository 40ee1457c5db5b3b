"""Which job may run next. Pure bookkeeping: it knows neither Ray nor the clock."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bdray.pipeline.stages import PoisonVictim
from bdray.pipeline.store import Store
from bdray.study.plan import Job, Result, jobs, trials
from bdray.study.search.base import Proposal, Proposer
from bdray.study.spec import LoadedStudy, Trial


@dataclass
class _Point:
    """A proposal that is not told yet."""

    proposal: Proposal
    trials: list[Trial]
    keys: list[str]
    """Key of each trial's last job."""
    victims: list[str]
    """Key of each trial's victim: its own, where nothing is defended; empty, where a defense trains in its place."""


@dataclass
class Board:
    """Hands out jobs whose inputs are finished, and tells the search what came of its points.

    A job that several trials need is handed out once; all of them wait for it. What the store has already is
    never handed out.
    """

    loaded: LoadedStudy
    proposer: Proposer
    store: Store
    on_result: Callable[[Result], None]
    """Called once for every distinct result, also for those from the store."""
    on_fail: Callable[[Job, str], None]
    """Called with the reason for every job that failed or cannot be run for a failed input."""
    on_trial: Callable[[Trial, Result | None, Result | None], None]
    """Called once for every trial with its result and its victim's; None for what failed."""
    max_open: int | None = None
    """Trials that may be open when another point is asked for, so that a search chooses its last points by what its
    first ones gave. None asks for all at once, which suits a grid."""
    waiting: dict[str, Job] = field(default_factory=dict)
    running: dict[str, Job] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """Reason by key."""
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

    def finish(self, key: str) -> None:
        """Note that a running job has put its result into the store."""
        job = self.running.pop(key)
        result = job.find(self.store)
        if result is None:
            self._fail(job, "ended without a result in the store")
        else:
            self._take(result)
        self._tell()

    def fail(self, key: str, reason: str) -> None:
        """Note that a running job failed, and with it all that needs it."""
        self._fail(self.running.pop(key), reason)
        self._tell()

    def _upstream(self, job: Job) -> bool:
        """Whether other jobs wait for this one; those go first."""
        return any(job.key in other.needs for other in self.waiting.values())

    def _add(self, proposal: Proposal) -> None:
        found = trials(self.loaded, proposal)
        keys, victims = [], []
        for trial in found:
            chain = jobs(trial)
            keys.append(chain[-1].key)
            victims.append(next((job.key for job in chain if isinstance(job.stage, PoisonVictim)), ""))
            for job in chain:
                if (
                    job.key in self.waiting
                    or job.key in self.running
                    or job.key in self.results
                    or job.key in self.failures
                ):
                    continue
                result = job.find(self.store)
                if result is not None:
                    self._take(result)
                elif broken := [key for key in job.needs if key in self.failures]:
                    self._fail(job, f"needs a stage that failed: {self.failures[broken[0]]}")
                else:
                    self.waiting[job.key] = job
        self._points.append(_Point(proposal, found, keys, victims))
        self._tell()

    def _take(self, result: Result) -> None:
        self.results[result.job.key] = result
        self.on_result(result)

    def _fail(self, job: Job, reason: str) -> None:
        self.failures[job.key] = reason
        self.on_fail(job, reason)
        for other in [other for other in self.waiting.values() if job.key in other.needs]:
            if other.key in self.waiting:
                del self.waiting[other.key]
                self._fail(other, f"{job.label} failed: {reason}")

    def _tell(self) -> None:
        """Close the points all of whose trials have ended."""
        open_points = []
        for point in self._points:
            if not all(key in self.results or key in self.failures for key in point.keys):
                open_points.append(point)
                continue
            found = [self.results.get(key) for key in point.keys]
            for trial, result, victim in zip(point.trials, found, point.victims, strict=True):
                self.on_trial(trial, result, self.results.get(victim))
            done = [result.metrics for result in found if result is not None]
            self.proposer.tell(point.proposal, _mean(done) if len(done) == len(found) else None)
        self._points = open_points


def _mean(rows: list[dict[str, float]]) -> Mapping[str, float]:
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
