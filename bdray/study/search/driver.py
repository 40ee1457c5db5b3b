"""Who works on a search: drivers, whether they still live, and what they spent."""

import os
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdray.study.search.meter import Meter

if TYPE_CHECKING:
    import optuna

PREFIX = "driver "
"""Starts the attribute of the Optuna study in which a driver keeps its record: nobody else writes that one."""
BEAT_SECONDS = 30.0
DEAD_AFTER_SECONDS = 600.0
"""Silence after which a driver on another machine is taken for dead; much more than a busy database takes."""


class Driver:
    """This process as one of those that work on a search.

    Its record in the history says since when it works, when it was last seen and how much it computed. A thread keeps
    that up to date, for between two epochs hours may pass.
    """

    def __init__(self, study: "optuna.Study", meter: Meter) -> None:
        self.id = f"{_place()}:{os.getpid()}:{_born(os.getpid())}:{os.urandom(3).hex()}"
        self._study, self._meter, self._started = study, meter, time.time()
        self._closed = threading.Event()
        _OPEN.add(self.id)
        self.beat()
        threading.Thread(target=self._keep_beating, name="bdray-heartbeat", daemon=True).start()

    def beat(self) -> None:
        """Bring the record up to date."""
        self._study.set_user_attr(PREFIX + self.id, self._record)

    def close(self) -> None:
        """Say that it works no more."""
        if not self._closed.is_set():
            self._closed.set()
            _OPEN.discard(self.id)
            self.beat()

    def is_alive(self, driver: str | None) -> bool:
        """Whether the driver of that name may still be at work."""
        record = self._records().get(driver or "")
        if driver is None or record is None or record["ended"]:
            return False
        place, pid, born, _ = driver.rsplit(":", 3)
        if place == _place() and int(pid) == os.getpid() and born == _born(os.getpid()):
            return driver in _OPEN
        if place == _place() and born:
            return _born(int(pid)) == born
        return bool(time.time() - record["seen"] < DEAD_AFTER_SECONDS)

    @property
    def index(self) -> int:
        """How many drivers worked on this search before; each that ever did has its own number."""
        records = self._records()
        return sorted(records, key=lambda driver: (records[driver]["started"], driver)).index(self.id)

    @property
    def compute_seconds(self) -> float:
        """Slot-seconds or GPU-seconds that all drivers spent so far."""
        return sum(float(record["spent"]) for record in self._records().values())

    @property
    def wall_seconds(self) -> float:
        """Time for which any driver was at work."""
        spans = sorted((record["started"], record["seen"]) for record in self._records().values())
        total, until = 0.0, 0.0
        for started, seen in spans:
            total += max(0.0, seen - max(started, until))
            until = max(until, seen)
        return total

    @property
    def _record(self) -> dict[str, Any]:
        return {
            "started": self._started,
            "seen": time.time(),
            "spent": self._meter.seconds,
            "ended": self._closed.is_set(),
        }

    def _records(self) -> dict[str, dict[str, Any]]:
        found = {
            name.removeprefix(PREFIX): record
            for name, record in self._study.user_attrs.items()
            if name.startswith(PREFIX)
        }
        return found | {self.id: self._record}

    def _keep_beating(self) -> None:
        while not self._closed.wait(BEAT_SECONDS):
            try:
                self.beat()
            except Exception:  # noqa: BLE001, S112 - a database that is away for a moment, in words of many libraries
                continue


_OPEN: set[str] = set()
"""Drivers of this process."""


def _place() -> str:
    """This machine; where process ids mean the same."""
    try:
        return f"{socket.gethostname()}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:  # not on Linux
        return socket.gethostname()


def _born(pid: int) -> str:
    """When a process was started, in ticks since the machine was, so that its id stands for no other one.

    Empty if there is no such process, or no way to know.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else fields[18]
