"""URIs that a user gives."""

import shlex
from pathlib import Path

import pytest

from bdray.exceptions import TrackingError
from bdray.tracking.location import Location


@pytest.mark.parametrize(
    "uri",
    [
        "file:///tmp/mlruns",
        "postgresql://me:hunter2@db/mlflow",
        "databricks",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:////tmp/what?.db",
        "sqlite:////tmp/a%20b/mlflow.db",
        "http://",
        "http://host:port",
        "http://me:hun/ter2@host",
        "http://me:hun#ter2@host",
    ],
)
def test_uris_that_are_not_supported_are_refused_with_the_rule(uri: str) -> None:
    with pytest.raises(TrackingError, match=r"is not supported\. Give sqlite:////absolute") as caught:
        Location.parse(uri)
    # No message shows a password.
    assert "ter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "page"),
    [
        ("http://mlflow:5000/", "http://mlflow:5000"),
        ("HTTPS://me:hunter%402@mlflow.example/prefix", "HTTPS://mlflow.example/prefix"),
        ("http://[::1]:5000", "http://[::1]:5000"),
    ],
)
def test_the_page_of_a_server_is_its_address_without_secrets(uri: str, page: str) -> None:
    location = Location.parse(uri)
    assert location.ui_command == page
    # What is sent has the secret; where files go is for the server to say.
    assert location.uri == uri.rstrip("/")
    assert location.artifacts is None


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = Location(f"sqlite:///{tmp_path}/runs/mlflow.db", tmp_path / "runs" / "mlflow.db")
    # Workers and the UI may run elsewhere, so the folder in which the study was started must not matter.
    for uri in ("runs/mlflow.db", "sqlite:///runs/../runs/mlflow.db", f"sqlite:///{tmp_path}/runs/mlflow.db"):
        assert Location.parse(uri) == expected
    assert expected.artifacts == f"file://{tmp_path}/runs/mlflow-artifacts"


def test_the_ui_command_runs_as_it_is() -> None:
    words = shlex.split(Location.parse("/tmp/new folder/mlflow.db").ui_command)
    # A path with a space survives the shell, and the UI is for this machine only.
    assert words[words.index("--backend-store-uri") + 1] == "sqlite:////tmp/new folder/mlflow.db"
    assert words[words.index("--host") + 1] == "127.0.0.1"
