"""The tracker: what a study's driver tells MLflow."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from bdray.tracking import links
from bdray.tracking.connection import connect, is_away, is_http_500
from bdray.tracking.content import PARAM_LIMIT, TAG_LIMIT, one_line, redact, split, texts
from bdray.tracking.inputs import DataInput
from bdray.tracking.location import Location
from bdray.tracking.spool import Record, Spool
from bdray.tracking.view import View
from bdray.tracking.writer import EPOCH, KEY_TAG, NOTE_TAG, REASON_TAG, Writer

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
        self._view: View | None = None
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
        self,
        name: str,
        study_id: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        description: str,
        view: View | None = None,
        report: str | None = None,
    ) -> None:
        """Open the experiment ``name`` and, in it, the parent run of ``study_id``.

        Args:
            name: Of the experiment and of the run.
            study_id: Tells the run from those of other studies of that name.
            params: Written once.
            tags: Written whenever they differ.
            description: Markdown, shown with the run and with the experiment.
            view: How the experiment's page shows its runs; the descriptions link to it.
            report: File among the run's artifacts that the descriptions link to, once it is there.
        """
        self._started = {None: {"experiment": name, "parent": None, "key": study_id, "step": None}}
        self._view = view
        note = {NOTE_TAG: links.describe(description, view.key if view else None, report)}
        of_experiment = {**note, **dict([view.tag])} if view else {}
        self._start(None, name, params, {**tags, STUDY_TAG: study_id, **note}, experiment_tags=of_experiment)

    def start_run(
        self,
        key: str,
        name: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        inputs: Sequence[DataInput] = (),
        nested: bool = True,
        started: float | None = None,
    ) -> None:
        """Open the run of ``key``; a finished one is left as it is, a failed or killed one runs again.

        Args:
            key: Tells the run from all others of its parent, in every process. Without quotes.
            name: For people.
            params: Knobs; written once, for MLflow refuses to change them.
            tags: Written whenever they differ.
            inputs: What the run reads.
            nested: Whether it lies under the study's run. A victim does not: the experiment's studies share it.
            started: When, in seconds since 1970, if that is not now.
        """
        study = self._started[None]
        self._started[key] = {**study, "parent": study["key"] if nested else None, "key": key, "step": None}
        self._start(key, name, params, tags, inputs=[each.record for each in inputs], started=started)

    def log(self, key: str, step: int, metrics: Mapping[str, float]) -> None:
        """Log all metrics of one step of a run that was started; those that are NaN or infinite become tags.

        Steps count up over the whole run, also across its stages: one that is not above the last one is taken for a
        repetition after a restart, and is not logged.
        """
        finite, tags = split(metrics, f"epoch {step}")
        self._started[key]["step"] = step
        self._submit("log", key, metrics={**finite, EPOCH: float(step)}, tags=tags)

    def finish(
        self,
        key: str | None,
        *,
        status: Status,
        metrics: Mapping[str, float] | None = None,
        reason: str | None = None,
        tags: Mapping[str, str] | None = None,
        ended: float | None = None,
    ) -> None:
        """Close a run (None: the study's). Metrics that do not have their final value yet get it at the last step.

        Args:
            key: The run.
            status: What became of it.
            metrics: Final values.
            reason: Why it did not finish.
            tags: More tags.
            ended: When, in seconds since 1970, if that is not now.
        """
        finite, others = split(metrics or {}, "the end")
        said = {**(tags or {}), **({} if reason is None else {REASON_TAG: reason})}
        tags = others | texts(said, TAG_LIMIT)
        self._submit("finish", key, status=status, metrics=finite, tags=tags, ended=ended)

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

    def table_url(self) -> str | None:
        """The study's page in the UI; None while the experiment could not be opened."""
        return self._address(links.table)

    def charts_url(self) -> str | None:
        """The same in charts."""
        return self._address(links.charts)

    def run_url(self, key: str | None) -> str | None:
        """A run's page in the UI; None while the run could not be opened."""
        experiment, run = self._known(key)
        return experiment and run and f"{self._location.page}/{links.run(experiment, run)}"

    def compare_url(self, keys: Sequence[str]) -> str | None:
        """The page that compares runs; None while some of them could not be opened, or if there are too many."""
        experiment, _ = self._known(None)
        runs = [run for key in keys if (run := self._known(key)[1])]
        if experiment is None or len(runs) < len(keys) or not 2 <= len(runs) <= links.MOST_COMPARED:
            return None
        return f"{self._location.page}/{links.comparison(experiment, runs)}"

    @property
    def is_server(self) -> bool:
        """Whether these addresses are good for everybody, rather than while the UI runs on this machine."""
        return self._location.database is None

    def _known(self, key: str | None) -> tuple[str | None, str | None]:
        """The ids of a run's experiment and of itself, as far as MLflow has told them."""
        record = self._started.get(key)
        return (self._writer.known_experiment(record), self._writer.known_run(record)) if record else (None, None)

    def _address(self, page: Callable[[str, str | None], str]) -> str | None:
        experiment, _ = self._known(None)
        view = self._view.key if self._view else None
        return experiment and f"{self._location.page}/{page(experiment, view)}"

    def _start(
        self, key: str | None, name: str, params: Mapping[str, Any], tags: Mapping[str, str], **more: object
    ) -> None:
        tags = texts({**tags, KEY_TAG: self._started[key]["key"]}, TAG_LIMIT)
        self._submit("start", key, name=name, params=texts(params, PARAM_LIMIT), tags=tags, **more)

    def _submit(self, action: str, key: str | None, **content: object) -> None:
        record = {"action": action, "time": int(time.time() * 1000), **self._started[key], **content}
        self._spool.add(record)
        self._send(budget=RESEND_BUDGET)

    def _send(self, budget: float) -> None:
        """Send what waits, oldest first, for at most ``budget`` seconds and as long as MLflow accepts it."""
        begun = time.monotonic()
        if not self.pending or begun < self._next_attempt:
            return
        while self.pending and time.monotonic() - begun <= budget and self._deliver(self._spool.waiting[0]):
            self._spool.drop()
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
