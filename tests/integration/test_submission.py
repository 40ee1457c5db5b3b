"""Studies that are sent to the job server of a real Ray head, which asks for a token."""

import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.ray_nodes import TOKEN, Head, ray_head

if TYPE_CHECKING:
    from tests.integration.conftest import Driver, Output

pytestmark = pytest.mark.slow
pytest.importorskip("aiohttp_cors", reason="needs a job server: pip install 'ray[default]'")

ROOT = Path(__file__).parents[2]
STUDY = "smoke/lambda2"
SECRETS = {
    name: f"pl4nted-{number}-" + "5ecret" * 4
    for number, name in enumerate(
        ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "PGPASSWORD", "HF_TOKEN", "AZURE_STORAGE_KEY")
    )
}
"""In the environment of the cluster's nodes and of its client."""


@pytest.fixture(scope="module")
def head(environment: dict[str, str]) -> Iterator[Head]:
    with ray_head(environment | SECRETS, cpus=2) as started:
        yield started


Submit = Callable[..., "Driver"]


@pytest.fixture
def submit(driver: Callable[..., "Driver"], head: Head) -> Submit:
    """Sends a study to the head, from a process that has its token; or other variables."""

    def send(output: "Output", *words: str, **variables: str) -> "Driver":
        return driver(output, *words, "--address", head.address, **{**head.environment, **variables})

    return send


def job_of(log: str) -> str:
    """``bdray-smoke-lambda2-0123abcd``."""
    return next(line.split()[1] for line in log.splitlines() if line.startswith("job "))


def test_a_study_is_sent_and_followed_to_its_end(smoke: "Output", submit: Submit, head: Head, tmp_path: Path) -> None:
    output = smoke.copy(tmp_path / "output", without="defend")
    # As on a machine that has little more than the client: nothing heavy is loaded there.
    running = submit(output, STUDY, PYTHONPROFILEIMPORTTIME="1")
    assert running.wait() == 0, running.errors
    loaded = {line.rpartition("|")[2].strip() for line in running.errors.splitlines() if "|" in line}
    assert "ray" in loaded
    assert not {"torch", "mlflow", "optuna", "open_clip"} & loaded
    # Progress and results came over; the results are those of a study that was run here.
    shown = running.log.read_text()
    assert "λ₂=1 seed=0: done" in shown
    assert "figure" in shown
    columns = ("role", "key", "clean_accuracy_top1", "attack_success_rate_top1")
    rows, expected = ([[row[name] for name in columns] for row in each.rows(STUDY)] for each in (output, smoke))
    assert rows == expected
    # What was sent is this very code, and it knows its commit.
    assert "unknown" not in {output.manifest("pretrain")["commit"]}
    # No secret is anywhere: not on the screen, not at the job server, not in any file of the study, its MLflow and its
    # store, nor in the logs and packages of Ray.
    files = [path for folder in (output.folder, head.folder) for path in folder.rglob("*") if path.is_file()]
    assert {"mlflow.db", "manifest.json", "report.html"} <= {path.name for path in files}
    assert any(path.name.startswith("job-driver-") for path in files)
    for secret in (TOKEN, *SECRETS.values()):
        assert secret not in head.jobs() + shown
        for path in files:
            assert secret.encode() not in path.read_bytes(), path


def test_ctrl_c_detaches_and_attach_returns(
    smoke: "Output", submit: Submit, one_trial: list[str], tmp_path: Path
) -> None:
    output = smoke.copy(tmp_path / "output", without="defend")
    running = submit(output, *one_trial)
    running.until(lambda: "started" in running.log.read_text())
    running.process.send_signal(signal.SIGINT)
    assert running.wait() == 130
    shown = running.log.read_text()
    job = job_of(shown)
    # The job is not told, and the user is told how to return.
    assert "Detached: the job goes on." in shown
    assert f"--attach {job}" in shown
    assert not output.manifests("defend")
    again = submit(type(output)(tmp_path / "again"), "--attach", job)
    assert again.wait() == 0, again.errors
    whole = again.log.read_text()
    # All of its output, from the beginning to the end, each line once.
    assert whole.count("epoch 1/12") == whole.count("epoch 12/12") == 1
    assert output.manifests("defend")
    late = submit(type(output)(tmp_path / "late"), "--attach", job)
    assert late.wait() == 0
    assert late.log.read_text() == whole


def test_the_exit_status_is_the_jobs(smoke: "Output", submit: Submit, tmp_path: Path) -> None:
    output = smoke.copy(tmp_path / "output", without="defend")
    (tmp_path / "file").write_text("")
    running = submit(output, STUDY, "--store", str(tmp_path / "file" / "store"))
    # That the store cannot be written is seen there, not here.
    assert running.wait() == 2
    assert "cannot be written" in running.log.read_text()


def test_what_the_cluster_cannot_use_is_refused_in_one_line(submit: Submit, tmp_path: Path, smoke: "Output") -> None:
    output = type(smoke)
    unknown = submit(output(tmp_path / "a"), "--attach", "bdray-nothing-0")
    assert unknown.wait() == 2
    assert "bdray-nothing-0 does not exist" in unknown.errors
    stranger = submit(output(tmp_path / "b"), STUDY, RAY_AUTH_TOKEN="f" * 40)
    assert stranger.wait() == 2
    assert "the cluster does not let us in" in stranger.errors
    assert "RAY_AUTH_TOKEN" in stranger.errors
    nameless = submit(output(tmp_path / "c"), STUDY, RAY_AUTH_MODE="disabled")
    assert nameless.wait() == 2
    assert "the cluster does not let us in" in nameless.errors
    for driver in (unknown, stranger, nameless):
        assert len(driver.errors.splitlines()) == 1, driver.errors
        assert TOKEN not in driver.errors


def test_a_cluster_elsewhere_cannot_reach_this_disk(head: Head, tmp_path: Path) -> None:
    before = head.jobs()
    # The address is a loopback one, as that of a forwarded port is, but the machine there has another name.
    code = "import socket, sys; socket.gethostname = lambda: 'laptop'\n"
    code += "from bdray.study.__main__ import main; sys.exit(main())"
    words = [STUDY, "--address", head.address, "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=head.environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert f"--store {tmp_path / 'store'}: is a place on this machine's disk" in done.stderr
    # Nothing was sent.
    assert head.jobs() == before


def test_the_guide_s_own_command_reaches_the_job_server(head: Head, tmp_path: Path) -> None:
    guide = (ROOT / "infra" / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in guide.splitlines() if line.startswith("ray job submit ")]
    assert "http://127.0.0.1:8265" in line
    command = line.replace("http://127.0.0.1:8265", head.address).replace("--output /work", f"--output {tmp_path}")
    # As the guide has it: the token in a file, its path in the environment.
    (tmp_path / "bdray-token").write_text(TOKEN)
    environment = {name: value for name, value in head.environment.items() if name != "RAY_AUTH_TOKEN"}
    environment |= {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "bdray-token")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    words = [*shlex.split(command), "--dry-run"]
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    # The study was planned there, and the plan came back.
    assert "6 points x 3 seeds = 18 trials" in done.stdout
