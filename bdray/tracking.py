"""A study in MLflow: one experiment per study, one run per trial and per victim.

The driver is the only process that writes. Each call becomes a record, a plain dictionary, which is sent at once or,
while MLflow is away, waits in a file and is sent later, in order. What makes that safe at any moment, also across
``kill -9``, is that **sending a record twice changes nothing**:

* a run is looked up by its tags before it is created, and its tags are written in the transaction that creates it;
* of a run that is there already, only missing parameters and changed tags are written;
* each batch of metrics carries the metric ``epoch``, in the same transaction; steps up to it are not sent again;
* points carry the time at which they were measured, so that MLflow itself refuses an identical one.
"""

import hashlib
import json
import logging
import math
import os
import re
import shlex
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit

from filelock import FileLock

from bdray.exceptions import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Status = Literal["FINISHED", "FAILED", "KILLED"]
Record = dict[str, Any]

STUDY_TAG = "bdray.study_id"
KEY_TAG = "bdray.key"
REASON_TAG = "bdray.reason"
NONFINITE_TAG = "bdray.nonfinite"
"""Prefix: ``bdray.nonfinite.METRIC`` says when METRIC was last NaN or infinite, which MLflow cannot plot."""
EPOCH = "epoch"
"""The metric that holds the last step, because MLflow's public API gives the values of metrics, not their steps."""

UI_PORT = 5000
CONNECT_ATTEMPTS = 3
CONNECT_TIMEOUT = 2
REQUEST_TIMEOUT = 10
FILE_TIMEOUT = 60
"""Seconds without an answer, unless MLFLOW_HTTP_REQUEST_TIMEOUT says otherwise."""
RESEND_BUDGET = 1.0
"""Seconds of one call that may go into records of the past, so that the driver stays responsive."""
LONGEST_WAIT = 60.0
"""Seconds between two attempts to reach an MLflow that is away; the first wait is 1 s and doubles."""

# Limits of mlflow.utils.validation.
NAME_LIMIT, PARAM_LIMIT, TAG_LIMIT = 250, 6000, 8000

_log = logging.getLogger(__name__)


@dataclass
class _RunState:
    """What this process knows about a run in MLflow."""

    run_id: str
    status: str
    last_step: int


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
        self._uri, self._database = _parse(uri)
        self._client = _connect(self._uri, self._database)
        self._spool = _Spool(spool, redact(self._uri))
        self._experiments: dict[str, str] = {}
        self._runs: dict[tuple[str, str, str | None, bool], _RunState] = {}
        self._started: dict[str | None, Record] = {}
        self._wait = 0.0
        self._next_attempt = 0.0
        self._resend(budget=math.inf)

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
        self._started = {None: {"experiment": name, "study": study_id, "key": None, "nested": False, "step": None}}
        note = {"mlflow.note.content": description, STUDY_TAG: study_id}
        self._submit(
            "start", None, name=name, params=_texts(params, PARAM_LIMIT), tags=_texts({**tags, **note}, TAG_LIMIT)
        )

    def start_run(
        self, key: str, name: str, *, params: Mapping[str, Any], tags: Mapping[str, str], nested: bool = True
    ) -> None:
        """Open the run of ``key``: under the study's run or, if not ``nested``, shared by the experiment's studies.

        A finished run is left as it is; a failed or killed one runs again.

        Args:
            key: Tells the run from all others of its parent, in every process. Without quotes.
            name: For people.
            params: Knobs; written once, for MLflow refuses to change them.
            tags: Written whenever they differ.
            nested: False for a victim, which several studies may share.
        """
        self._started[key] = {**self._started[None], "key": key, "nested": nested, "step": None}
        tags = _texts({**tags, KEY_TAG: key}, TAG_LIMIT)
        self._submit("start", key, name=name, params=_texts(params, PARAM_LIMIT), tags=tags)

    def log(self, key: str, step: int, metrics: Mapping[str, float]) -> None:
        """Log all metrics of one step of a run, in one call.

        Args:
            key: Of a run that was started.
            step: Counts up over the whole run, also across its stages: a step not above the last one is taken for a
                repetition after a restart, and is not logged.
            metrics: By name. Those that are NaN or infinite become a tag.
        """
        finite, tags = _split(metrics, f"epoch {step}")
        self._started[key]["step"] = step
        self._submit("log", key, metrics={**finite, EPOCH: float(step)}, tags=tags)

    def finish(
        self, key: str, *, status: Status, metrics: Mapping[str, float] | None = None, reason: str | None = None
    ) -> None:
        """Close a run. Metrics that do not already have their final value get it at the last step."""
        self._finish(key, status, metrics, reason)

    def finish_study(
        self, *, status: Status, metrics: Mapping[str, float] | None = None, reason: str | None = None
    ) -> None:
        """Close the study's own run, as :meth:`finish` does."""
        self._finish(None, status, metrics, reason)

    def log_files(self, key: str | None, paths: Sequence[Path], folder: str = "") -> None:
        """Copy files or folders to the artifacts of a run (None: the study's), replacing those of the same name."""
        for path in paths:
            self._submit("file", key, path=str(path.absolute()), folder=folder)

    def close(self) -> None:
        """Try once more to send what is pending, and release the spool."""
        self._next_attempt = 0.0
        self._resend(budget=math.inf)
        self._spool.close()

    @property
    def shown_uri(self) -> str:
        """The URI without secrets."""
        return redact(self._uri)

    def ui_command(self) -> str:
        """The shell command that shows this store in a browser, or the address of the server that does."""
        if self._database is None:
            return self._page()
        mlflow = "mlflow" if shutil.which("mlflow") else f"{shlex.quote(sys.executable)} -m mlflow"
        # One worker and no job runner: half the memory and half the time to start.
        light = "MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"
        store = f"--backend-store-uri {shlex.quote(self._uri)}"
        return f"{light} {mlflow} ui {store} --host 127.0.0.1 --port {UI_PORT} --workers 1"

    def experiment_url(self) -> str | None:
        """The study's page in the UI; None while the experiment could not be opened."""
        experiment_id = self._experiments.get(self._started[None]["experiment"])
        return None if experiment_id is None else f"{self._page()}/#/experiments/{experiment_id}"

    def run_url(self, key: str | None) -> str | None:
        """A run's page in the UI; None while the run could not be opened."""
        run = self._runs.get(_identity(self._started[key]))
        return None if run is None else f"{self.experiment_url()}/runs/{run.run_id}"

    def _page(self) -> str:
        return f"http://127.0.0.1:{UI_PORT}" if self._database else re.sub(r"(?<=://)[^/]*@", "", self._uri)

    def _finish(self, key: str | None, status: Status, metrics: Mapping[str, float] | None, reason: str | None) -> None:
        finite, tags = _split(metrics or {}, "the end")
        finite.pop(EPOCH, None)
        if reason is not None:
            tags |= _texts({REASON_TAG: reason}, TAG_LIMIT)
        self._submit("finish", key, status=status, metrics=finite, tags=tags)

    # Records: sent now, or in order later.

    def _submit(self, action: str, key: str | None, **content: object) -> None:
        record = {"action": action, "time": int(time.time() * 1000), **self._started[key], **content}
        self._resend(budget=RESEND_BUDGET)
        if self.pending or self._is_waiting() or not self._deliver(record):
            self._spool.append(record)

    def _is_waiting(self) -> bool:
        """Whether MLflow was away so recently that it is not worth asking again."""
        return time.monotonic() < self._next_attempt

    def _resend(self, budget: float) -> None:
        """Send what waits, oldest first, for at most ``budget`` seconds and as long as MLflow accepts it."""
        if not self.pending or self._is_waiting():
            return
        begun = time.monotonic()
        while self.pending and time.monotonic() - begun <= budget and self._deliver(self._spool.waiting[0]):
            self._spool.waiting.popleft()
        self._spool.save()

    def _deliver(self, record: Record) -> bool:
        """Send a record; False if MLflow is away. One that MLflow refuses would be refused forever: it is set aside."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        send = {"start": self._send_start, "log": self._send_log, "finish": self._send_finish, "file": self._send_file}
        try:
            with _impatient(FILE_TIMEOUT if record["action"] == "file" else REQUEST_TIMEOUT):
                send[record["action"]](record)
        except (MlflowException, SQLAlchemyError, OSError, _NoRunError) as error:
            if _is_away(error):
                self._wait = min(max(1.0, 2 * self._wait), LONGEST_WAIT)
                self._next_attempt = time.monotonic() + self._wait
                return False
            self._spool.refuse(record, _one_line(error))
        self._wait = 0.0
        return True

    def _send_start(self, record: Record) -> None:
        from mlflow.entities import Param, RunTag

        params, tags = record["params"], record["tags"]
        state = self._find(record)
        if state is None:
            if record["nested"]:
                tags = {**tags, "mlflow.parentRunId": self._parent(record)}
            run = self._client.create_run(
                self._experiment(record), start_time=record["time"], tags=tags, run_name=record["name"]
            )
            self._remember(record, run)
        else:
            run = self._client.get_run(state.run_id)
            if state.status in ("FAILED", "KILLED"):
                self._set_running(state)
        self._client.log_batch(
            run.info.run_id,
            params=[Param(key, value) for key, value in params.items() if key not in run.data.params],
            tags=[RunTag(key, value) for key, value in tags.items() if run.data.tags.get(key) != value],
            synchronous=True,
        )

    def _send_log(self, record: Record) -> None:
        state = self._found(record)
        if record["step"] <= state.last_step:
            return
        if state.status != "RUNNING":
            self._set_running(state)
        self._log_batch(state, record, record["metrics"], record["step"])
        state.last_step = record["step"]

    def _send_finish(self, record: Record) -> None:
        state = self._found(record)
        run = self._client.get_run(state.run_id)
        step = max(state.last_step, 0) if record["step"] is None else record["step"]
        latest = run.data.metrics
        news = {
            name: value
            for name, value in record["metrics"].items()
            if latest.get(name) != value and not (name in latest and self._holds(state, name, step, value))
        }
        self._log_batch(state, record, news, step)
        if REASON_TAG in run.data.tags and REASON_TAG not in record["tags"]:
            self._client.delete_tag(state.run_id, REASON_TAG)
        if run.info.status != record["status"]:
            self._client.set_terminated(state.run_id, record["status"], end_time=record["time"])
        state.status = record["status"]

    def _send_file(self, record: Record) -> None:
        self._client.log_artifact(self._found(record).run_id, record["path"], record["folder"] or None)

    def _log_batch(self, state: _RunState, record: Record, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric, RunTag

        points = [Metric(name, value, timestamp=record["time"], step=step) for name, value in metrics.items()]
        tags = [RunTag(key, value) for key, value in record["tags"].items()]
        # Also where MLFLOW_ENABLE_ASYNC_LOGGING is set: asynchronous logging was seen to lose points without a word.
        self._client.log_batch(state.run_id, points, tags=tags, synchronous=True)

    def _holds(self, state: _RunState, name: str, step: int, value: float) -> bool:
        history = self._client.get_metric_history(state.run_id, name)
        return any(point.step == step and point.value == value for point in history)

    def _set_running(self, state: _RunState) -> None:
        self._client.update_run(state.run_id, status="RUNNING")
        state.status = "RUNNING"

    # Runs in MLflow, by their tags.

    def _found(self, record: Record) -> _RunState:
        state = self._find(record)
        if state is None:
            raise _NoRunError(f"the run of {record['key'] or record['study']!r} is not in MLflow; was it deleted?")
        return state

    def _find(self, record: Record) -> _RunState | None:
        """The run that a record is about, as MLflow knows it the first time and as this process knows it afterwards."""
        known = self._runs.get(_identity(record))
        if known is not None:
            return known
        tag, value = (STUDY_TAG, record["study"]) if record["key"] is None else (KEY_TAG, record["key"])
        parent = self._parent(record) if record["nested"] else None
        for run in self._client.search_runs(
            [self._experiment(record)], f"tags.`{tag}` = '{value}'", order_by=["attributes.start_time ASC"]
        ):
            tags = run.data.tags
            if tags.get("mlflow.parentRunId") == parent and (record["key"] is not None or KEY_TAG not in tags):
                return self._remember(record, run)
        return None

    def _remember(self, record: Record, run: "Run") -> _RunState:
        state = _RunState(run.info.run_id, run.info.status, int(run.data.metrics.get(EPOCH, -1)))
        self._runs[_identity(record)] = state
        return state

    def _parent(self, record: Record) -> str:
        return self._found({**record, "key": None, "nested": False}).run_id

    def _experiment(self, record: Record) -> str:
        """The id of the experiment, which is created, or restored if somebody deleted it."""
        name = record["experiment"]
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            if found is None:
                folder = None if self._database is None else _artifacts(self._database)
                self._experiments[name] = self._client.create_experiment(name, artifact_location=folder)
            else:
                if found.lifecycle_stage == "deleted":
                    self._client.restore_experiment(found.experiment_id)
                self._experiments[name] = found.experiment_id
        return self._experiments[name]


class _NoRunError(Exception):
    """A record is about a run that is not there."""


class _Spool:
    """The records that wait for MLflow, in memory and as JSON lines in a folder that one process owns."""

    def __init__(self, folder: Path, destination: str) -> None:
        # Records for another server stay where they are.
        self._path = folder / f"pending-{hashlib.sha256(destination.encode()).hexdigest()[:8]}.jsonl"
        self._refused = folder / "refused.jsonl"
        self._lock = FileLock(folder / "lock")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            self.waiting = deque(self._read())
            self.save()
        except TimeoutError as error:
            raise TrackingError(
                f"{folder}: another process uses this spool, probably the same study. Wait for it, or end it."
            ) from error
        except (OSError, NotImplementedError) as error:
            raise TrackingError(
                f"{folder}: cannot hold the spool of the tracker: {_one_line(error)}. Choose a local, writable folder."
            ) from error
        self.refused = 0

    def append(self, record: Record) -> None:
        self.waiting.append(record)
        self._write(self._path, record)

    def save(self) -> None:
        """Make the file hold what still waits."""
        try:
            if self.waiting:
                fresh = self._path.with_suffix(".new")
                fresh.write_text("".join(json.dumps(record) + "\n" for record in self.waiting))
                fresh.replace(self._path)
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("%s still holds records that were sent: %s", self._path, error)

    def refuse(self, record: Record, reason: str) -> None:
        self.refused += 1
        _log.warning("MLflow refused to %s the run of %s: %s", record["action"], record["key"] or "the study", reason)
        self._write(self._refused, {"reason": reason, **record})

    def close(self) -> None:
        self._lock.release()

    def _read(self) -> Iterator[Record]:
        lines = self._path.read_text().splitlines(keepends=True) if self._path.exists() else []
        # A process that was killed while it wrote leaves half a line at the end.
        return (json.loads(line) for line in lines if line.endswith("\n"))

    def _write(self, path: Path, record: Record) -> None:
        try:
            with path.open("a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            _log.warning("%s cannot be written, so the record is kept in memory only: %s", path, error)


def redact(text: str) -> str:
    """Hide the ``user:password`` of every URL in a text."""
    return re.sub(r"(?<=://)[^/\s]*@", "***@", text)


def _parse(uri: str) -> tuple[str, Path | None]:
    """The absolute URI, and the path of the database if it is a file.

    Raises:
        TrackingError: If the URI is none of the kinds that are supported.
    """
    shown = re.sub(r"(?<=://)\S*@", "***@", uri)
    rule = "Give sqlite:////absolute/path/mlflow.db, the path of such a .db file, or the http(s):// address of a server"
    scheme = uri.partition(":")[0] if re.match(r"[A-Za-z][\w+.-]*:", uri) else ""
    if scheme in ("http", "https"):
        return _parse_http(uri, shown), None
    name = uri.removeprefix("sqlite:///")
    if scheme not in ("", "sqlite") or (scheme and not uri.startswith("sqlite:///")):
        server = " (for a database server or object storage, start an MLflow server: see infra/mlflow)"
        raise TrackingError(f"tracking URI {shown!r} is not supported. {rule}{server}.")
    if name in ("", ":memory:") or (not scheme and not name.endswith(".db")):
        raise TrackingError(f"tracking URI {shown!r} does not name a database file. {rule}.")
    path = Path(name).expanduser().resolve()
    if "?" in str(path) or "%" in str(path):
        raise TrackingError(
            f"{path}: ? and % mean something else in the URI of a database. Choose a path without them."
        )
    return f"sqlite:///{path}", path


def _parse_http(uri: str, shown: str) -> str:
    try:
        parts = urlsplit(uri)
        valid = bool(parts.hostname) and "@" not in parts.path and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise TrackingError(
            f"tracking URI {shown!r} is not the address of a server. Write http(s)://HOST:PORT and percent-encode "
            "special characters of a password, or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )
    return uri.rstrip("/")


def _connect(uri: str, database: Path | None) -> "MlflowClient":
    """A client whose store answers."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # MLflow reads it when it is imported
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    with _impatient(CONNECT_TIMEOUT):
        for attempts_left in reversed(range(CONNECT_ATTEMPTS)):
            try:
                if database is not None:
                    _open_database(database)
                client = MlflowClient(tracking_uri=uri)
                client.search_experiments(max_results=1)
            except (MlflowException, SQLAlchemyError) as error:
                if not (attempts_left and any(isinstance(cause, RequestException) for cause in _causes(error))):
                    raise TrackingError(f"MLflow at {redact(uri)} cannot be used: {_explain(error)}") from error
                time.sleep(0.5)
            else:
                return client
    raise AssertionError("the last attempt returns or raises")


def _open_database(path: Path) -> None:
    """Create the database if there is none, and make sure that it is one of MLflow and can be written."""
    try:
        if path.is_dir():
            raise TrackingError(
                f"{path}: is a folder, but must be the file of a database. Add a name such as mlflow.db."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two processes that create one database at once corrupt it for good (mlflow issue 19943).
        with FileLock(f"{path}.lock", timeout=30):
            if not path.exists() or path.stat().st_size == 0:
                _create_database(path)
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=5)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"experiments", "alembic_version"} <= tables:
                raise TrackingError(f"{path}: is a database of another program. Name another file.")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
    except (OSError, sqlite3.Error) as error:
        raise TrackingError(
            f"{path}: cannot be used as MLflow's database: {_one_line(error)}. "
            "Name another file, or move this one away, or make it and its folder writable."
        ) from error


def _create_database(path: Path) -> None:
    """Run MLflow's migrations in a file beside ``path`` and move it there, so that it is complete or absent."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=path.parent) as folder:
        fresh = Path(folder) / path.name
        store = SqlAlchemyStore(f"sqlite:///{fresh}", _artifacts(path))
        store.engine.dispose()
        fresh.replace(path)


def _artifacts(database: Path) -> str:
    """Where the files of all runs go, each run's in a folder of its own."""
    return (database.parent / f"{database.stem}-artifacts").as_uri()


@contextmanager
def _impatient(timeout: int) -> Iterator[None]:
    """MLflow tries 8 times for 120 s each, prints links that show passwords and logs a traceback for each failure.

    It reads all that from the environment at each call and has no parameter for it. No retries of its own also because
    a repeated ``create_run`` creates a second run.
    """
    settings = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", str(timeout)),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    before = {name: os.environ.get(name) for name in settings}
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    os.environ.update(settings)
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _is_away(error: BaseException) -> bool:
    """Whether MLflow could not be reached or let in now, rather than that it refused what it was sent."""
    from mlflow.exceptions import MlflowException
    from requests import HTTPError, RequestException
    from sqlalchemy.exc import OperationalError

    passing = {
        *("TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"),
        *("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED", "ENDPOINT_NOT_FOUND"),
        "RESOURCE_ALREADY_EXISTS",  # another driver created the experiment after we looked for it: look again
    }
    for cause in _causes(error):
        if isinstance(cause, HTTPError) and cause.response is not None:
            return cause.response.status_code >= 500 or cause.response.status_code in (408, 429)
        if isinstance(cause, RequestException | OperationalError):
            return True
        if isinstance(cause, MlflowException) and cause.error_code in passing:
            return True
    return False


def _explain(error: Exception) -> str:
    """Why MLflow cannot be opened, and the next step."""
    import requests
    from mlflow.exceptions import MlflowException

    causes = list(_causes(error))
    check = "Check the address and that the server runs (see infra/mlflow), or track into a file: sqlite:////path/mlflow.db."
    if any(isinstance(cause, TimeoutError | requests.Timeout) for cause in causes):
        return f"no answer in time. {check}"
    if any(isinstance(cause, requests.ConnectionError) for cause in causes):
        return f"no connection ({_one_line(causes[-1])}). {check}"
    code = error.error_code if isinstance(error, MlflowException) else ""
    if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"):
        return (
            "the server does not let us in. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
            "or MLFLOW_TRACKING_TOKEN."
        )
    return f"{_one_line(error)} Check that the address is that of an MLflow server or of its database."


def _split(metrics: Mapping[str, float], when: str) -> tuple[dict[str, float], dict[str, str]]:
    """The finite metrics, and a tag for each of the others."""
    values = {_name(name): float(value) for name, value in metrics.items()}
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    others = {f"{NONFINITE_TAG}.{name}": f"{values[name]} at {when}" for name in values.keys() - finite.keys()}
    return finite, _texts(others, TAG_LIMIT)


def _texts(values: Mapping[str, Any], limit: int) -> dict[str, str]:
    """Parameters or tags as MLflow takes them: no secrets, and what is too long ends in a remark."""
    return {_name(name): _shorten(redact(str(value)), limit) for name, value in values.items()}


def _name(name: str) -> str:
    """A name in MLflow's alphabet."""
    return re.sub(r"[^/\w.\- :]", "_", name)[:NAME_LIMIT]


def _shorten(text: str, limit: int) -> str:
    remark = f"... (cut, {len(text)} characters)"
    return text if len(text) <= limit else text[: limit - len(remark)] + remark


def _one_line(error: BaseException) -> str:
    return _shorten(redact(" ".join(str(error).split())), 300)


def _identity(record: Record) -> tuple[str, str, str | None, bool]:
    return record["experiment"], record["study"], record["key"], record["nested"]
