"""Jobs that wait: for their inputs first, then for a free slot."""

import heapq
import itertools
from collections.abc import Container, KeysView

from bdray.study.plan import Job

MAX_ALIKE = 32
"""Equals among which the one is chosen whose inputs are at hand."""
_Entry = tuple[bool, int, int, str]
"""Whether nobody waits for it, how costly it is, when it came, key: the least is the next."""


class Waiting:
    """Hands out the jobs whose inputs are there, at a cost that hardly grows with how many wait.

    Those that others wait for go first, then the costliest, so that the end is even; of equals the one that came first.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._rank: dict[str, tuple[int, int]] = {}
        """How costly each is, negated, and when it came."""
        self._unmet: dict[str, set[str]] = {}
        """Keys that each still waits for."""
        self._needing: dict[str, dict[str, None]] = {}
        """Keys of the jobs that need a key, in the order in which they came."""
        self._ready: list[_Entry] = []
        """A heap. Entries of jobs that left, or whose place has changed since, are put right when they come up."""
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, key: str) -> bool:
        return key in self._jobs

    def keys(self) -> KeysView[str]:
        """Of all that wait."""
        return self._jobs.keys()

    def needing(self, key: str) -> list[Job]:
        """The jobs that need the result of that key."""
        return [self._jobs[other] for other in self._needing.get(key, ())]

    def add(self, job: Job, finished: Container[str]) -> None:
        """Let a job wait for those of its inputs that are not finished."""
        key = job.key
        self._jobs[key], self._rank[key] = job, (-job.images, next(self._count))
        self._unmet[key] = {need for need in job.needs if need not in finished}
        for need in job.needs:
            self._needing.setdefault(need, {})[key] = None
            if len(self._needing[need]) == 1 and need in self._jobs and not self._unmet[need]:
                heapq.heappush(self._ready, self._entry(need))  # it has become urgent
        if not self._unmet[key]:
            heapq.heappush(self._ready, self._entry(key))

    def remove(self, key: str) -> Job:
        """Let a job wait no more."""
        job = self._jobs.pop(key)
        del self._rank[key], self._unmet[key]
        for need in job.needs:
            self._needing[need].pop(key, None)
            if not self._needing[need]:
                del self._needing[need]
        return job

    def finish(self, key: str) -> None:
        """Note that a result is there."""
        for other in self._needing.get(key, ()):
            if key in self._unmet[other]:
                self._unmet[other].remove(key)
                if not self._unmet[other]:
                    heapq.heappush(self._ready, self._entry(other))

    def next(self, at_hand: Container[str] = ()) -> Job | None:
        """Take the first of those that may run, of equals one whose inputs are at hand; None if there is none."""
        alike: list[_Entry] = []
        chosen = None
        while len(alike) < MAX_ALIKE and (entry := self._pop()) is not None:
            if alike and entry[:2] != alike[0][:2]:
                heapq.heappush(self._ready, entry)
                break
            alike.append(entry)
            if all(need in at_hand for need in self._jobs[entry[-1]].needs):
                chosen = entry
                break
            if not at_hand:
                break
        if not alike:
            return None
        chosen = chosen or alike[0]
        for entry in alike:
            if entry is not chosen:
                heapq.heappush(self._ready, entry)
        return self.remove(chosen[-1])

    def _pop(self) -> _Entry | None:
        while self._ready:
            entry = heapq.heappop(self._ready)
            *_, came, key = entry
            if key not in self._jobs or self._rank[key][1] != came:
                continue
            if entry == self._entry(key):
                return entry
            heapq.heappush(self._ready, self._entry(key))  # nobody waits for it any more
        return None

    def _entry(self, key: str) -> _Entry:
        cost, came = self._rank[key]
        return key not in self._needing, cost, came, key
