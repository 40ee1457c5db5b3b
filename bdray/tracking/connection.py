"""Opening MLflow, and telling whether it is away."""

import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from bdray.exceptions import TrackingError
from bdray.tracking.content import one_line, redact
from bdray.tracking.location import Location

if TYPE_CHECKING:
    from mlflow import MlflowClient

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # it has the password
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # a repeated create_run creates a second run
}
"""What MLflow has no parameters for. Set once: to change the environment while Ray's threads read it is not safe."""
TIMEOUT = "10"
"""Seconds without an answer, unless MLFLOW_HTTP_REQUEST_TIMEOUT says otherwise."""
PASSING = {
    *("TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"),
    *("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED", "ENDPOINT_NOT_FOUND"),
    "RESOURCE_ALREADY_EXISTS",  # another driver created the experiment after we looked for it: look again
}
"""Codes with which MLflow, or a proxy before it, does not let us in now."""


def connect(location: Location) -> "MlflowClient":
    """A client whose store answers.

    Raises:
        TrackingError: If it does not.
    """
    os.environ.update(SETTINGS)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", TIMEOUT)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    for name in ("mlflow", "alembic"):  # which log a traceback for each failure
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        if location.database and location.artifacts:
            _open_database(location.database, location.artifacts)
            _commit_without_waiting(location.database)
        client = MlflowClient(tracking_uri=location.uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError) as error:
        raise TrackingError(
            f"MLflow at {redact(location.uri)} cannot be used: {one_line([*_causes(error)][-1])}. Check that this is "
            "the address of an MLflow server that runs (see infra/mlflow) and lets us in, by MLFLOW_TRACKING_USERNAME "
            "and MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN, or track into a file: sqlite:////path/mlflow.db."
        ) from error
    return client


def is_away(error: BaseException) -> bool:
    """Whether MLflow could not be reached or let in now, rather than that it refused what it was sent."""
    from requests import HTTPError, RequestException
    from sqlalchemy.exc import OperationalError

    for cause in _causes(error):
        if isinstance(cause, HTTPError):
            return cause.response is not None and cause.response.status_code >= 500
        if isinstance(cause, RequestException | OperationalError) or getattr(cause, "error_code", None) in PASSING:
            return True
    return False


def is_http_500(error: BaseException) -> bool:
    """Whether the server failed: for a while, or at this very record."""
    return "too many 500 error responses" in str(error)  # as urllib3 puts it, and one is too many


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _open_database(path: Path, artifacts: str) -> None:
    """Create the database if there is none, and make sure that it is one of MLflow and can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two processes that create one database at once corrupt it for good (mlflow issue 19943).
        with FileLock(f"{path}.lock", timeout=30):
            if not path.exists() or path.stat().st_size == 0:
                _create_database(path, artifacts)
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=5)) as database:
            # MLflow would make its tables in a database of another program.
            database.execute("SELECT 1 FROM experiments, alembic_version LIMIT 1")
            database.execute("PRAGMA journal_mode = WAL")  # the UI reads while a study writes
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
    except (OSError, sqlite3.Error) as error:
        raise TrackingError(
            f"{path}: cannot be used as MLflow's database: {one_line(error)}. "
            "Name another file, or move this one away, or make it and its folder writable."
        ) from error


_NOT_WAITING: set[Path] = set()
"""Databases whose commits do not wait for the disk."""


def _commit_without_waiting(path: Path) -> None:
    """Let no commit wait until the disk has it: MLflow makes ten for a trial, and a busy disk takes 0.1 s for each.

    In WAL mode that is safe against everything but a loss of power, which costs the last transactions and never the
    database; the study's results are in the store, and running it again tells MLflow what it lacks.
    """
    from sqlalchemy import Engine, event

    _NOT_WAITING.add(path)
    if not event.contains(Engine, "connect", _on_connect):
        event.listen(Engine, "connect", _on_connect)


def _on_connect(connection: object, _: object) -> None:
    """Called for every database of this process, as SQLAlchemy has no way to name one that MLflow opens."""
    if isinstance(connection, sqlite3.Connection):
        file = connection.execute("PRAGMA database_list").fetchone()[2]
        if file and Path(file) in _NOT_WAITING:
            connection.execute("PRAGMA synchronous = NORMAL")


def _create_database(path: Path, artifacts: str) -> None:
    """Run MLflow's migrations in a file beside ``path`` and move it there, so that it is complete or absent."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=path.parent) as folder:
        fresh = Path(folder) / path.name
        SqlAlchemyStore(f"sqlite:///{fresh}", artifacts).engine.dispose()
        fresh.replace(path)
