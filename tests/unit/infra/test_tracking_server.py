"""The tracking server: its compose file, and the server itself, started as the container starts it."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture
def compose(infra: Path) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((infra / "mlflow" / "compose.yaml").read_text(encoding="utf-8"))
    return tree


def test_compose_file_matches_the_specification(infra: Path, tmp_path: Path) -> None:
    pytest.importorskip("check_jsonschema")
    text = (infra / "mlflow" / "compose.yaml").read_text(encoding="utf-8")
    (tmp_path / "bad.yaml").write_text(text.replace("cap_drop", "cap_drops"))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    good, bad = (
        subprocess.run([*command, path], capture_output=True, text=True)
        for path in (infra / "mlflow" / "compose.yaml", tmp_path / "bad.yaml")
    )
    assert good.returncode == 0, good.stdout
    # The check is one that finds unknown fields.
    assert bad.returncode == 1
    assert "cap_drops" in bad.stdout


def test_containers_are_hardened(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & service.keys()
        # A user by number that is not root, or the one that secrets.sh found.
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*|\$\{MLFLOW_USER:\?.*\}", service["user"])


def test_only_mlflow_is_reachable_and_only_from_here(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert published == {"mlflow": ["127.0.0.1:${MLFLOW_PORT:-5000}:5000"]}
    outside = [name for name, service in compose["services"].items() if service["networks"] != ["inside"]]
    assert outside == ["mlflow"]
    assert compose["networks"]["inside"] == {"internal": True}


def test_each_container_gets_its_own_secrets(compose: dict[str, Any], infra: Path, tmp_path: Path) -> None:
    made = make_secrets(infra, tmp_path)
    assert {entry["file"] for entry in compose["secrets"].values()} == {f"secrets/{path.name}" for path in made}
    used = {name: set(service["secrets"]) for name, service in compose["services"].items()}
    assert used["postgres"] == {"postgres_password"}
    assert set().union(*used.values()) == compose["secrets"].keys()
    # None is a value in the file.
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            assert not re.search("PASSWORD|TOKEN|SECRET|KEY", name) or str(value).startswith("/run/secrets/")


def make_secrets(infra: Path, folder: Path) -> list[Path]:
    environment = {**os.environ, "MLFLOW_SECRETS": str(folder / "secrets")}
    subprocess.run([infra / "mlflow" / "secrets.sh", "127.0.0.1"], env=environment, check=True, capture_output=True)
    return sorted((folder / "secrets").iterdir())


def test_secrets(infra: Path, tmp_path: Path) -> None:
    first = {path.name: path.read_text() for path in make_secrets(infra, tmp_path)}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert all(len(first[name]) == 48 for name in ("admin_password", "postgres_password", "session_key"))
    assert first["database_uri"] == f"postgresql+psycopg://mlflow:{first['postgres_password']}@127.0.0.1:5432/mlflow"
    (identity,) = json.loads(first["s3_identities.json"])["identities"]
    (key,) = identity["credentials"]
    # The server knows the key that MLFlow uses.
    assert f"aws_access_key_id = {key['accessKey']}\n" in first["s3_credentials"]
    assert f"aws_secret_access_key = {key['secretKey']}\n" in first["s3_credentials"]
    # Made once: a second call changes nothing, and another folder gets others.
    assert {path.name: path.read_text() for path in make_secrets(infra, tmp_path)} == first
    (tmp_path / "other").mkdir()
    others = {path.name: path.read_text() for path in make_secrets(infra, tmp_path / "other")}
    assert not set(first.values()) & set(others.values())


class Server:
    """A server in a folder of its own, and what it said."""

    def __init__(self, infra: Path, folder: Path) -> None:
        make_secrets(infra, folder)
        self.folder, self.log = folder, folder / "log"
        self.password = (folder / "secrets" / "admin_password").read_text()
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        (folder / "secrets" / "database_uri").write_text(uri)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_"))}
        environment = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MLFLOW_SECRETS": str(folder / "secrets"),
            "MLFLOW_PORT": str(self.port),
            "MLFLOW_WORKERS": "1",
            "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
            "MLFLOW_SERVER_ALLOWED_HOSTS": "127.0.0.1:*",
            "TMPDIR": str(folder),
        }
        self.process = subprocess.Popen(
            ["sh", infra / "mlflow" / "serve.sh"],
            env=environment,
            cwd=folder,
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def get(self, path: str, password: str | None = None, body: dict[str, Any] | None = None, **headers: str) -> int:
        """Status of one request, as `admin` if there is a password."""
        if password is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json", **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def wait(self) -> None:
        for _ in range(240):
            assert self.process.poll() is None, self.log.read_text()
            try:
                if self.get("/health") == 200:
                    return
            except OSError:
                time.sleep(0.5)
        pytest.fail(self.log.read_text())

    def close(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)  # a group that this test made
        self.process.wait(60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if find_spec("flask_wtf") is None:
        pytest.skip("needs mlflow[auth]")
    infra = Path(__file__).parents[3] / "infra"
    running = Server(infra, tmp_path_factory.mktemp("server"))
    try:
        running.wait()
        yield running
    finally:
        running.close()


SEARCH = "/api/2.0/mlflow/experiments/search?max_results=5"


@pytest.mark.slow
def test_server_asks_who_is_there(server: Server) -> None:
    assert server.get("/health") == 200  # for probes, which have no account
    assert server.get(SEARCH) == 401
    assert server.get(SEARCH, "password1234") == 401
    assert server.get(SEARCH, server.password) == 200
    assert server.get("/api/2.0/mlflow/experiments/create", body={"name": "stranger"}) == 401
    # It answers only under its own name, so that no page in a browser can reach it by another.
    assert server.get(SEARCH, server.password, Host="evil.example") == 403


@pytest.mark.slow
def test_server_takes_a_study_s_records(server: Server, tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
run = client.create_run(client.create_experiment("study")).info.run_id
client.log_metric(run, "clean_accuracy", 0.9)
Path("report.html").write_text("<p>report</p>")
client.log_artifact(run, "report.html")
print(client.get_run(run).data.metrics, [item.path for item in client.list_artifacts(run)])
"""
    environment = {**os.environ, "MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": server.password}
    uri = f"http://127.0.0.1:{server.port}"
    done = subprocess.run(
        [sys.executable, "-c", code, uri], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert "{'clean_accuracy': 0.9} ['report.html']" in done.stdout, done.stderr
    # Through the server, so that drivers need no key of the bucket.
    assert len(list((server.folder / "artifacts").rglob("report.html"))) == 1


@pytest.mark.slow
def test_server_tells_no_secret(server: Server) -> None:
    import psutil

    group = [process for process in psutil.process_iter(["cmdline"]) if _in_group(process.pid, server.process.pid)]
    assert group
    secrets = [path.read_text() for path in (server.folder / "secrets").iterdir() if "uri" not in path.name]
    said = server.log.read_text() + "".join(" ".join(process.info["cmdline"]) for process in group)
    database = (server.folder / "mlflow.db").read_bytes()
    for secret in secrets:
        # Not in a log, not in a command line, not in the database, which has a hash.
        assert secret not in said
        assert secret.encode() not in database
    (settings,) = (path for path in server.folder.glob("tmp.*") if path.is_file())
    assert settings.stat().st_mode & 0o077 == 0


def _in_group(process: int, group: int) -> bool:
    try:
        return os.getpgid(process) == group
    except ProcessLookupError:
        return False


def test_server_refuses_to_start_without_secrets(infra: Path, tmp_path: Path) -> None:
    make_secrets(infra, tmp_path)
    (tmp_path / "secrets" / "admin_password").write_text("")
    environment = {**os.environ, "MLFLOW_SECRETS": str(tmp_path / "secrets")}
    done = subprocess.run(["sh", infra / "mlflow" / "serve.sh"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "admin_password is missing or empty" in done.stderr
