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
    """A queue of records, in memory and as lines of JSON in a local folder that one process owns.

    Raises:
        TrackingError: If the folder cannot be used.
    """

    def __init__(self, folder: Path, destination: str) -> None:
        # Records for another server stay where they are.
        self._path = folder / f"pending-{hashlib.sha256(destination.encode()).hexdigest()[:8]}.jsonl"
        self._refused = folder / "refused.jsonl"
        self._lock = FileLock(folder / "lock")
        self.refused = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            lines = self._path.read_text().splitlines(keepends=True) if self._path.exists() else []
            # A process that was killed while it wrote leaves half a line at the end.
            self.waiting: deque[Record] = deque(json.loads(line) for line in lines if line.endswith("\n"))
        except (OSError, ValueError) as error:
            reason = "another process uses this spool" if isinstance(error, TimeoutError) else one_line(error)
            raise TrackingError(
                f"{folder}: cannot hold what waits for MLflow: {reason}. "
                "If the same study runs elsewhere, wait for it or end it; else choose a local, writable folder."
            ) from error
        self.save()

    def append(self, record: Record) -> None:
        """Queue a record."""
        self.waiting.append(record)
        self._write(self._path, record)

    def save(self) -> None:
        """Make the file hold what still waits."""
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_text("".join(json.dumps(record) + "\n" for record in self.waiting))
            fresh.replace(self._path)
            if not self.waiting:
                self._path.unlink()
        except OSError as error:
            _log.warning("%s still holds records that were sent: %s", self._path, error)

    def refuse(self, record: Record, reason: str) -> None:
        """Set a record aside for good."""
        self.refused += 1
        _log.warning("MLflow refused to %s the run of %s: %s", record["action"], record["key"], reason)
        self._write(self._refused, {"reason": reason, **record})

    def close(self) -> None:
        """Let another process use the folder."""
        self._lock.release()

    def _write(self, path: Path, record: Record) -> None:
        try:
            with path.open("a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            _log.warning("%s cannot be written, so the record is kept in memory only: %s", path, error)
