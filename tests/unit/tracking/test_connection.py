"""Opening MLflow: databases that are created or refused, servers that are away or not MLflow."""

import http.server
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bdray.exceptions import TrackingError
from bdray.tracking import Tracker, redact
from bdray.tracking.connection import connect, is_away, is_http_500
from bdray.tracking.location import Location


def test_a_file_that_cannot_be_the_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, but long enough to be taken for one" * 100)
    (tmp_path / "folder.db").mkdir()
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE trials (id INTEGER)")
    cases = {
        "text.db": "file is not a database",
        "folder.db": "cannot be used as MLflow's database",
        "other.db": "no such table",
        "text.db/below/mlflow.db": "cannot be used as MLflow's database",
    }
    for name, part in cases.items():
        with pytest.raises(TrackingError, match=part) as caught:
            Tracker(str(tmp_path / name), tmp_path / "spool")
        # The message names the file and a way out.
        assert name in str(caught.value)
        assert "ame" in str(caught.value)
    # Somebody else's database is not touched.
    with sqlite3.connect(tmp_path / "other.db") as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("trials",)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_database_that_cannot_be_written_is_refused(database: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mlflow.db"
    copy.write_bytes(database.read_bytes())
    copy.chmod(0o400)
    with pytest.raises(TrackingError, match="make it and its folder writable"):
        Tracker(str(copy), tmp_path / "spool")


class Answer(http.server.BaseHTTPRequestHandler):
    """A server that is not MLflow."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def other_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://me:hunter2@127.0.0.1:{server.server_port}"
        server.shutdown()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_server_that_is_not_there_is_an_error_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    silent = socket.create_server(("127.0.0.1", 0))
    cases = {
        f"http://me:hunter2@127.0.0.1:{free_port()}": "Connection refused",
        f"http://me:hunter2@127.0.0.1:{silent.getsockname()[1]}": "timed out",
    }
    for uri, part in cases.items():
        begun = time.monotonic()
        with pytest.raises(TrackingError, match=part) as caught:
            Tracker(uri, tmp_path / "spool")
        # One try as long as the user says, not MLflow's half an hour; the message has a next step and no password.
        assert time.monotonic() - begun < 5
        assert redact(uri) in str(caught.value)
        assert "Check that this is the address of an MLflow server" in str(caught.value)
        assert "hunter2" not in str(caught.value)
    silent.close()


@pytest.mark.parametrize(
    ("status", "part"), [(200, "not in a valid JSON format"), (401, "MLFLOW_TRACKING_TOKEN"), (404, "404")]
)
def test_a_server_that_is_not_mlflow_is_an_error(
    other_server: str, status: int, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answer, "status", status)
    with pytest.raises(TrackingError, match=part) as caught:
        Tracker(other_server, tmp_path / "spool")
    # The password stays ours.
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("status", [500, 503])
def test_an_answer_that_says_nothing_about_the_record_means_away(
    other_server: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answer, "status", status)
    with pytest.raises(TrackingError) as caught:
        connect(Location.parse(other_server))
    error = caught.value.__cause__
    assert error is not None
    # These are MLflow's own errors, whose words may change with its versions.
    assert is_away(error)
    assert is_http_500(error) == (status == 500)


def test_a_database_that_two_drivers_create_at_once_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with ThreadPoolExecutor(2) as pool:
        clients = list(pool.map(connect, [Location.parse(str(path))] * 2))
    # Both can use it, and nothing is left beside it.
    for index, client in enumerate(clients):
        client.create_experiment(f"experiment {index}")
    assert not [found for found in tmp_path.iterdir() if not found.name.startswith("mlflow.db")]


def test_commits_to_our_database_do_not_wait_for_the_disk_and_others_do(database: Path, tmp_path: Path) -> None:
    from sqlalchemy import create_engine

    with Tracker(str(database), tmp_path / "spool"):
        waits = {}
        for path in (database, tmp_path / "other.db"):
            with create_engine(f"sqlite:///{path}").connect() as connection:
                waits[path.name] = connection.exec_driver_sql("PRAGMA synchronous").scalar()
                mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
            # Without WAL a loss of power could cost the whole file.
            assert waits[path.name] == 2 or mode == "wal"
        # 1 is NORMAL, 2 is FULL; a search's history is none of our business here.
        assert waits == {database.name: 1, "other.db": 2}
