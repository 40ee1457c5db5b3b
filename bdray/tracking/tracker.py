"""The tracker: what a study's driver tells MLflow."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from bdray.tracking.connection import connect, is_away, is_http_500
from bdray.tracking.content import PARAM_LIMIT, TAG_LIMIT, one_line, redact, split, texts
from bdray.tracking.location import Location
from bdray.tracking.spool import Record, Spool
from bdray.tracking.writer import EPOCH, KEY_TAG, REASON_TAG, Writer

STUDY_TAG = "bdray.study_id"
Status = Literal["FINISHED", "FAILED", "KILLED"]

RESEND_BUDGET = 1.0
"""Seconds of one call that may go into records of the past, so that the driver stays responsive."""
LONGEST_WAIT = 60.0
"""Seconds between two attempts to reach an MLflow that is away; the first wait is 1 s and doubles."""
SERVER_ERRORS = 8
"""How often the server may answer HTTP 500 to a record, over two minutes or more, before the next one gets its turn."""


class Tracker:
    """Writes one study to MLflow.

    After the constructor nothing here raises because of MLflow: what cannot be sent now is ``pending``, what MLflow
    will never accept is ``refused``; both are files in the spool folder.

    Args:
        uri: ``sqlite:////absolute/path.db``, the path of such a file, or ``http(s)://`` of an MLflow server.
        spool: A local folder for records that wait. One tracker at a time may use it; give each study its own.

    Raises:
        TrackingError: If MLflow cannot be used now; the message says what to do.
    """

    def __init__(self, uri: str, spool: Path) -> None:
        self._location = Location.parse(uri)
        self._writer = Writer(connect(self._location), self._location.artifacts)
        self._spool = Spool(spool, self.shown_uri)
        self._started: dict[str | None, Record] = {}
        self._wait = 0.0
        self._next_attempt = 0.0
        self._send(budget=math.inf)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pending(self) -> int:
        """How many records wait for MLflow to come back."""
        return len(self._spool.waiting)

    @property
    def refused(self) -> int:
        """How many records MLflow refused for good; ``refused.jsonl`` in the spool says why."""
        return self._spool.refused

    def start_study(
        self, name: str, study_id: str, *, params: Mapping[str, Any], tags: Mapping[str, str], description: str
    ) -> None:
        """Open the experiment ``name`` and, in it, the parent run of ``study_id``."""
        self._started = {None: {"experiment": name, "parent": None, "key": study_id, "step": None}}
        self._start(None, name, params, {**tags, STUDY_TAG: study_id, "mlflow.note.content": description})

    def start_run(
        self, key: str, name: str, *, params: Mapping[str, Any], tags: Mapping[str, str], nested: bool = True
    ) -> None:
        """Open the run of ``key``; a finished one is left as it is, a failed or killed one runs again.

        Args:
            key: Tells the run from all others of its parent, in every process. Without quotes.
            name: For people.
            params: Knobs; written once, for MLflow refuses to change them.
            tags: Written whenever they differ.
            nested: Whether it lies under the study's run. A victim does not: the experiment's studies share it.
        """
        study = self._started[None]
        self._started[key] = {**study, "parent": study["key"] if nested else None, "key": key, "step": None}
        self._start(key, name, params, tags)

    def log(self, key: str, step: int, metrics: Mapping[str, float]) -> None:
        """Log all metrics of one step of a run that was started; those that are NaN or infinite become tags.

        Steps count up over the whole run, also across its stages: one that is not above the last one is taken for a
        repetition after a restart, and is not logged.
        """
        finite, tags = split(metrics, f"epoch {step}")
        self._started[key]["step"] = step
        self._submit("log", key, metrics={**finite, EPOCH: float(step)}, tags=tags)

    def finish(
        self, key: str | None, *, status: Status, metrics: Mapping[str, float] | None = None, reason: str | None = None
    ) -> None:
        """Close a run (None: the study's). Metrics that do not have their final value yet get it at the last step."""
        finite, tags = split(metrics or {}, "the end")
        reasons = {} if reason is None else {REASON_TAG: reason}
        self._submit("finish", key, status=status, metrics=finite, tags=tags | texts(reasons, TAG_LIMIT))

    def finish_study(
        self, *, status: Status, metrics: Mapping[str, float] | None = None, reason: str | None = None
    ) -> None:
        """Close the study's own run."""
        self.finish(None, status=status, metrics=metrics, reason=reason)

    def log_files(self, key: str | None, paths: Sequence[Path], folder: str = "") -> None:
        """Copy files or folders to the artifacts of a run (None: the study's), replacing those of the same name."""
        for path in paths:
            self._submit("file", key, path=str(path.absolute()), folder=folder)

    def close(self) -> None:
        """Try once more to send what is pending, and release the spool."""
        self._next_attempt = 0.0
        self._send(budget=math.inf)
        self._spool.close()

    @property
    def shown_uri(self) -> str:
        """The URI without secrets."""
        return redact(self._location.uri)

    def ui_command(self) -> str:
        """The shell command that shows this store in a browser, or the address of the server that does."""
        return self._location.ui_command

    def experiment_url(self) -> str | None:
        """The study's page in the UI; None while the experiment could not be opened."""
        experiment = self._writer.known_experiment(self._started[None])
        return experiment and f"{self._location.page}/#/experiments/{experiment}"

    def run_url(self, key: str | None) -> str | None:
        """A run's page in the UI; None while the run could not be opened."""
        run = self._writer.known_run(self._started[key])
        return run and f"{self.experiment_url()}/runs/{run}"

    def _start(self, key: str | None, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        tags = texts({**tags, KEY_TAG: self._started[key]["key"]}, TAG_LIMIT)
        self._submit("start", key, name=name, params=texts(params, PARAM_LIMIT), tags=tags)

    def _submit(self, action: str, key: str | None, **content: object) -> None:
        record = {"action": action, "time": int(time.time() * 1000), **self._started[key], **content}
        self._spool.waiting.append(record)
        self._spool.save()
        self._send(budget=RESEND_BUDGET)

    def _send(self, budget: float) -> None:
        """Send what waits, oldest first, for at most ``budget`` seconds and as long as MLflow accepts it."""
        begun = time.monotonic()
        if not self.pending or begun < self._next_attempt:
            return
        while self.pending and time.monotonic() - begun <= budget and self._deliver(self._spool.waiting[0]):
            self._spool.waiting.popleft()
        self._spool.save()

    def _deliver(self, record: Record) -> bool:
        """Send a record or, if MLflow refuses it, set it aside; False if MLflow is away."""
        try:
            self._writer.write(record)
        # Nothing here may end a study, and storage libraries, of which there are many, raise errors of their own.
        except Exception as error:  # noqa: BLE001
            record["errors"] = record.get("errors", 0) + is_http_500(error)
            if is_away(error) and record["errors"] < SERVER_ERRORS:
                self._wait = min(max(1.0, 2 * self._wait), LONGEST_WAIT)
                self._next_attempt = time.monotonic() + self._wait
                return False
            self._spool.refuse(record, f"{type(error).__name__}: {one_line(error)}")
        self._wait = 0.0
        return True
