"""Where the history of a search is kept: a journal file, or a database that several drivers share."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from bdray.exceptions import SearchError

if TYPE_CHECKING:
    import optuna

KINDS = ("sqlite:///", "postgresql://", "postgresql+psycopg://")
CONNECT_SECONDS = 10
RESTART_SECONDS = 60.0
"""How long a server may be away that was there when the search began, as while it is restarted."""
RETRY_SECONDS = 1.5
"""Two drivers that create the tables of a new database at once get in each other's way; the next attempt finds them."""


def open_storage(uri: str | None, folder: Path) -> "optuna.storages.BaseStorage":
    """The storage at a URI, or the journal in a folder.

    Raises:
        SearchError: If it cannot be used.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if uri is not None:
        return _open_database(uri)
    path = folder / "optuna.journal"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _mend(path)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    except (OSError, ValueError) as error:
        raise SearchError(
            f"{path}: the history of the search cannot be used ({_one_line(error)}). Make it readable and writable, or "
            "move it away to search anew; what is in the store is not computed again."
        ) from error


def check_storage(uri: str) -> None:
    """Refuse a URI that names no database that we use.

    Raises:
        SearchError: With the kinds that we do.
    """
    if not uri.startswith(KINDS):
        raise SearchError(
            f"search_storage {shown(uri)!r}: is not supported. Give postgresql://USER@HOST/DATABASE, with the password "
            "in PGPASSWORD or ~/.pgpass, or sqlite:////absolute/path.db."
        )


def shown(uri: str) -> str:
    """A URI without its user and password, as it may be printed."""
    return re.sub(r"(?<=://)\S*@", "***@", re.sub(r"(?<=[?&]password=)[^&\s]*", "***", uri))


@contextmanager
def storage_errors(uri: str | None) -> Iterator[None]:
    """Turn what a storage raises into one error that names it, without secrets.

    Raises:
        SearchError: Instead.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError, OSError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        where = f"search_storage {shown(uri)!r}" if uri else "the search's journal"
        raise SearchError(
            f"{where}: cannot be used ({_one_line(cause, uri)}). Nothing that was computed is lost: run the study "
            "again when it is back."
        ) from None  # the original may quote the password


def _mend(journal: Path) -> None:
    """Remove what a full disk left of a line, to which Optuna would append, and the lock of a driver that was killed.

    Nobody else uses the journal: a study's folder belongs to one driver at a time.
    """
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    content = journal.read_bytes() if journal.exists() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(journal, whole)


def _open_database(uri: str) -> "optuna.storages.BaseStorage":
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    check_storage(uri)
    is_postgres = uri.startswith("postgresql")
    options: dict[str, Any] = {"connect_args": {"connect_timeout": CONNECT_SECONDS}} if is_postgres else {}
    if is_postgres:
        options["pool_pre_ping"] = True  # connections that a restart broke are made anew
    url = re.sub("^postgresql://", "postgresql+psycopg://", uri)
    begun = time.monotonic()
    with storage_errors(uri):
        while True:
            try:
                return _patient(RDBStorage(url, engine_kwargs=options))
            except ImportError:
                raise SearchError(
                    f"search_storage {shown(uri)!r}: needs psycopg. Install it: pip install 'bdray[postgres]'."
                ) from None
            except RuntimeError as error:
                raise SearchError(
                    f"search_storage {shown(uri)!r}: its tables are not this Optuna's ({_one_line(error, uri)})."
                ) from None
            except SQLAlchemyError:
                if time.monotonic() - begun > RETRY_SECONDS:
                    raise
                time.sleep(0.5)


def _patient(storage: "optuna.storages.RDBStorage") -> "optuna.storages.RDBStorage":
    """The same storage, which from now on waits for a server that is being restarted."""
    from sqlalchemy import event

    def connect(dialect: Any, record: Any, words: list[Any], options: dict[str, Any]) -> Any:
        end = time.monotonic() + RESTART_SECONDS
        while True:
            try:
                return dialect.connect(*words, **options)
            except dialect.loaded_dbapi.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    event.listen(storage.engine, "do_connect", connect)
    return storage


def _one_line(error: BaseException, uri: str | None = None) -> str:
    """What an error says, to be quoted in another."""
    text = " ".join(str(error).split("\n(Background", 1)[0].split())
    for secret in re.findall(r"://[^:@/]*:(\S+)@|[?&]password=([^&\s]+)", uri or ""):
        for word in filter(None, secret):
            text = text.replace(word, "***").replace(unquote(word), "***")
    return text[:300]
