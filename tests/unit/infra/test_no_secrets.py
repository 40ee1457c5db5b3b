"""No file of infra/ holds a secret, whatever the environment that wrote or rendered it holds."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

PLANTED = "pl4nted-" + "5ecret" * 5
VARIABLES = ("RAY_AUTH_TOKEN", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "POSTGRES_PASSWORD", "HF_TOKEN")
LOOKS_SECRET = {
    "a long random word": re.compile(r"\b(?=\w*\d)(?=\w*[A-Za-z])[A-Za-z0-9+/_]{24,}\b"),
    "an AWS key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a password in a URI": re.compile(r"://[\w.-]+:(?!PASSWORD@)[^@/\s%$]+@"),
}


def files(infra: Path) -> list[Path]:
    """What git would take."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."],
        cwd=infra,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return [infra / name for name in listed]


def suspicious(text: str) -> list[str]:
    return [f"{name}: {found[0]}" for name, pattern in LOOKS_SECRET.items() for found in pattern.finditer(text)]


def test_files_hold_nothing_that_looks_like_a_secret(infra: Path) -> None:
    assert len(files(infra)) > 20
    for path in files(infra):
        assert suspicious(path.read_text(encoding="utf-8")) == [], path


@pytest.mark.parametrize(
    "secret",
    [
        "token: 9f86d081884c7d659a2feaa0c55ad015",
        "AKIAIOSFODNN7EXAMPLE",
        "postgresql://mlflow:hunter2@db/mlflow",
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_secret_is_found(secret: str) -> None:
    assert suspicious(f"a line\n{secret}\n")


def test_secrets_reach_containers_by_reference(
    applied: list[dict[str, Any]], pods_of: Callable[[dict[str, Any]], Iterator[tuple[Any, dict[str, Any]]]]
) -> None:
    for _, spec in (pod for item in applied for pod in pods_of(item)):
        for variable in (variable for container in spec["containers"] for variable in container.get("env", [])):
            if re.search("PASSWORD|TOKEN|SECRET|KEY|USERNAME", variable["name"]):
                # A reference, or the path of a file.
                assert "secretKeyRef" in variable.get("valueFrom", {}) or variable["value"].startswith("/run/secrets/")


@pytest.mark.parametrize("name", ["cpu-demo", "gpu"])
def test_a_planted_secret_is_in_nothing_that_is_rendered(
    name: str, infra: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, PLANTED)
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    environment = {**os.environ, "KUBECONFIG": os.devnull}
    command = ["kubectl", "kustomize", str(infra / "kuberay" / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "RayCluster" in done.stdout
    assert PLANTED not in done.stdout


@pytest.mark.parametrize("name", ["cluster", "on_premise"])
def test_a_planted_secret_is_in_nothing_that_the_launcher_sends(
    name: str, infra: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.autoscaler._private.util import prepare_config

    for variable in VARIABLES:
        monkeypatch.setenv(variable, PLANTED)
    config = yaml.safe_load((infra / "ray" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert PLANTED not in json.dumps(prepare_config(config))


def test_made_secrets_are_ignored_by_git_and_docker(infra: Path) -> None:
    for name in ("secrets/admin_password", "data/bucket", ".env"):
        path = f"infra/mlflow/{name}"
        assert subprocess.run(["git", "check-ignore", "--quiet", path], cwd=infra.parent).returncode == 0, path
