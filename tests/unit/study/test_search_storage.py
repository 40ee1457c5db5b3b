"""Where histories are kept: what cannot be used is refused in one sentence, without secrets."""

import socket
from pathlib import Path
from typing import Any

import pytest

from bdray.exceptions import SearchError
from bdray.study.search.storage import check_storage, open_storage, shown, storage_errors
from tests.unit.study.searching import begin, run_all

SECRET = "s3cr/et:p@ss"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("postgresql://ann:secret@host:5432/db", "postgresql://***@host:5432/db"),
        (f"postgresql://ann:{SECRET}@host/db", "postgresql://***@host/db"),
        ("postgresql:///db?host=/tmp&user=ann&password=secret", "postgresql:///db?host=/tmp&user=ann&password=***"),
        ("sqlite:////tmp/search.db", "sqlite:////tmp/search.db"),
    ],
)
def test_a_uri_is_shown_without_secrets(uri: str, expected: str) -> None:
    assert shown(uri) == expected


@pytest.mark.parametrize(
    "uri", ["mysql://ann:secret@host/db", "search.db", "postgres://ann:secret@host/db", "redis://"]
)
def test_other_databases_are_refused(uri: str) -> None:
    with pytest.raises(SearchError, match=r"is not supported. Give postgresql://USER@HOST/DATABASE") as error:
        check_storage(uri)
    assert "secret" not in str(error.value)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("secret", ["s3cret", "s3cr%40et"])
def test_a_server_that_is_away_is_one_error(tmp_path: Path, secret: str) -> None:
    pytest.importorskip("psycopg")
    uri = f"postgresql://ann:{secret}@127.0.0.1:{free_port()}/bdray"
    with pytest.raises(SearchError) as error:
        begin(tmp_path, storage=uri)
    said = str(error.value)
    # What, where and why; neither the password nor the way in which SQLAlchemy and psycopg tell it.
    assert said.startswith("search_storage 'postgresql://***@127.0.0.1:")
    assert "refused" in said
    assert "\n" not in said
    assert "s3cr" not in said
    # Nor is it in the traceback that a crash would print.
    assert error.value.__suppress_context__


def test_what_a_database_says_is_quoted_without_secrets() -> None:
    from sqlalchemy.exc import OperationalError

    uri = f"postgresql://ann:{SECRET}@host/db"
    with pytest.raises(SearchError) as error, storage_errors(uri):
        raise OperationalError(f"cannot reach {uri}", {}, Exception(f"password {SECRET} is wrong"))
    assert SECRET not in str(error.value)


def test_a_missing_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SearchError, match=r"needs psycopg. Install it: pip install 'bdray\[postgres\]'"):
        open_storage("postgresql://host/db", tmp_path)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("not a database, but long enough to be taken for one " * 100)
    with pytest.raises(SearchError, match="file is not a database"):
        open_storage(f"sqlite:///{path}", tmp_path)


@pytest.mark.parametrize("content", ["no journal\n", '{"op_code": 0\n'])
def test_a_damaged_journal(tmp_path: Path, content: str) -> None:
    run_all(begin(tmp_path))
    journal = tmp_path / "optuna.journal"
    journal.write_text(content + journal.read_text())
    with pytest.raises(SearchError, match=r"optuna.journal: the history of the search cannot be used"):
        begin(tmp_path)


def test_a_journal_whose_last_line_is_torn(tmp_path: Path) -> None:
    run_all(begin(tmp_path))
    journal = tmp_path / "optuna.journal"
    with journal.open("a") as file:
        file.write('{"op_code": 4, "work')  # a disk that was full
    # That line was lost when it was written; the search goes on.
    assert len(run_all(begin(tmp_path, 6))) == 6
    assert len(run_all(begin(tmp_path, 6))) == 6


def test_a_driver_that_was_killed_with_the_lock_stops_nobody(tmp_path: Path) -> None:
    run_all(begin(tmp_path))
    lock = tmp_path / "optuna.journal.lock"
    lock.symlink_to(tmp_path / "optuna.journal")
    open_storage(None, tmp_path)
    # Optuna would wait for half a minute before it takes it.
    assert not lock.is_symlink()
    assert len(run_all(begin(tmp_path, 6))) == 6


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SearchError, match=r"optuna.journal: the history of the search cannot be used"):
        begin(tmp_path / "file" / "search")


def test_a_database_that_goes_away_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    uri = f"sqlite:///{tmp_path / 'search.db'}"
    proposer: Any = begin(tmp_path, storage=uri)
    proposal = proposer.ask()

    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("SELECT 1", {}, Exception("server closed the connection"))

    monkeypatch.setattr(type(proposer._history.study._storage._backend), "set_study_user_attr", away)
    for call in (proposer.ask, lambda: proposer.tell(proposal, None)):
        with pytest.raises(SearchError, match=r"server closed the connection.* run the study again when it is back"):
            call()
    # On the way out, that is no news.
    proposer.close()
