"""Records that wait for MLflow, on disk."""

import hashlib
import json
import logging
from collections import deque
from pathlib import Path
from typing import Any

from filelock import FileLock

from bdray.exceptions import TrackingError
from bdray.tracking.content import one_line

Record = dict[str, Any]
"""One call of the tracker, in the types of JSON."""

_log = logging.getLogger(__name__)


class Spool:
    """A queue of records for one destination, in memory and as lines of JSON in a folder that one process owns.

    A record is appended to the file. What was sent leaves the file later than the memory: when nothing waits any more,
    or when it is the larger part of the file, so that all writing is linear in the records. A process that is killed
    in between sends some of them again, which changes nothing.

    Raises:
        TrackingError: If the folder cannot be used.
    """

    def __init__(self, folder: Path, destination: str) -> None:
        self._path = folder / f"pending-{hashlib.sha256(destination.encode()).hexdigest()[:8]}.jsonl"
        self._refused = folder / "refused.jsonl"
        self._lock = FileLock(folder / "lock")
        self.refused = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            lines = self._path.read_text().splitlines(keepends=True) if self._path.exists() else []
            # A disk that was full leaves half a line at the end.
            self.waiting: deque[Record] = deque(json.loads(line) for line in lines if line.endswith("\n"))
        except (OSError, ValueError) as error:
            reason = "another process uses this spool" if isinstance(error, TimeoutError) else one_line(error)
            raise TrackingError(
                f"{folder}: cannot hold what waits for MLflow: {reason}. "
                "If the same study runs elsewhere, wait for it or end it; else choose a local, writable folder."
            ) from error
        self._sent = 0
        """Lines at the start of the file that wait no more."""
        self._is_whole = len(lines) == len(self.waiting)
        """Whether the file ends with a line that is complete, so that one can be appended."""

    def add(self, record: Record) -> None:
        """Let a record wait, in memory and in the file."""
        self.waiting.append(record)
        if not self._is_whole:
            self._rewrite()
            return
        try:
            with self._path.open("a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            self._is_whole = False  # it may hold half of it
            self._warn(error)

    def drop(self) -> None:
        """Forget the oldest record, which was sent or refused; the file is to be told by :meth:`save`."""
        self.waiting.popleft()
        self._sent += 1

    def save(self) -> None:
        """Take what was dropped out of the file, if it is worth it."""
        if not self.waiting or not self._is_whole or self._sent > len(self.waiting):
            self._rewrite()

    def refuse(self, record: Record, reason: str) -> None:
        """Set a record aside for good."""
        self.refused += 1
        _log.warning("MLflow refused to %s the run of %s: %s", record["action"], record["key"], reason)
        try:
            with self._refused.open("a") as file:
                file.write(json.dumps({"reason": reason, **record}) + "\n")
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._refused, error)

    def close(self) -> None:
        """Let another process use the folder."""
        if self.waiting:  # with what was noted in them since, such as how often the server failed at one
            self._rewrite()
        self._lock.release()

    def _rewrite(self) -> None:
        """Make the file hold what waits, in one step, so that it is complete whenever the process is killed."""
        fresh = self._path.with_suffix(".new")
        try:
            if self.waiting:
                fresh.write_text("".join(json.dumps(record) + "\n" for record in self.waiting))
                fresh.replace(self._path)
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            self._warn(error)
            return
        self._sent, self._is_whole = 0, True

    def _warn(self, error: OSError) -> None:
        _log.warning("%s cannot be written, so what waits for MLflow is kept in memory only: %s", self._path, error)
