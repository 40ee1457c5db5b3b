"""Studies that are sent to the job server of a real Ray head, which asks for a token."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Driver, Output

pytestmark = pytest.mark.slow
pytest.importorskip("aiohttp_cors", reason="needs a job server: pip install 'ray[default]'")

ROOT = Path(__file__).parents[2]
TOKEN = "t0ken" * 8
STUDY = "smoke/lambda2"


@dataclass
class Head:
    """A Ray of one node, with a job server."""

    address: str
    environment: dict[str, str]
    """For its clients: the token."""

    def jobs(self) -> str:
        """All that the server tells of its jobs."""
        request = urllib.request.Request(f"{self.address}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request) as answer:
            return str(answer.read().decode())


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def family(pid: int) -> set[int]:
    """A process and all that it started, by the chain of parents."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


@pytest.fixture(scope="module")
def head(environment: dict[str, str]) -> Iterator[Head]:
    binaries = Path(sys.executable).parent
    with_token = environment | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    dashboard, *others = free_ports(6)
    names = (
        "dashboard-agent-listen",
        "dashboard-agent-grpc",
        "runtime-env-agent",
        "ray-client-server",
        "metrics-export",
    )
    ports = [word for name, port in zip(names, others, strict=True) for word in (f"--{name}-port", str(port))]
    ports += ["--port", "0", "--min-worker-port", "0", "--max-worker-port", "0", "--dashboard-port", str(dashboard)]
    local = ["--node-ip-address", "127.0.0.1", "--dashboard-host", "127.0.0.1", "--disable-usage-stats"]
    with tempfile.TemporaryDirectory(prefix="bdray-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        log = (Path(folder) / "head.log").open("w")
        small = ["--num-cpus", "2", "--object-store-memory", "200000000", "--temp-dir", folder]
        process = subprocess.Popen(
            [str(binaries / "ray"), "start", "--head", "--block", *local, *ports, *small],
            env=with_token | {"PATH": f"{binaries}{os.pathsep}{environment['PATH']}"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        found = Head(f"http://127.0.0.1:{dashboard}", with_token)
        try:
            _wait_until_it_answers(found, process, Path(log.name))
            yield found
        finally:
            started = family(process.pid)
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            for pid in started:
                with contextlib.suppress(OSError):
                    if pid == process.pid or b"ray" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        os.kill(pid, signal.SIGKILL)
            process.wait(30)


def _wait_until_it_answers(head: Head, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(urllib.error.URLError, OSError):
            head.jobs()
            return
        time.sleep(0.2)
    pytest.fail(f"the head does not answer: {log.read_text()}")


Submit = Callable[..., "Driver"]


@pytest.fixture
def submit(driver: Callable[..., "Driver"], head: Head, environment: dict[str, str]) -> Iterator[Submit]:
    """Sends a study to the head, from a process that has its token."""
    before = dict(environment)
    environment.update(head.environment)
    yield lambda output, *words: driver(output, *words, "--address", head.address)
    environment.clear()
    environment.update(before)


def job_of(log: str) -> str:
    """``bdray-smoke-lambda2-0123abcd``."""
    return next(line.split()[1] for line in log.splitlines() if line.startswith("job "))


def test_a_study_is_sent_and_followed_to_its_end(
    smoke: "Output", submit: Submit, head: Head, tmp_path: Path, environment: dict[str, str]
) -> None:
    output = smoke.copy(tmp_path / "output", without="defend")
    # As on a machine that has little more than the client: nothing heavy is loaded there.
    environment["PYTHONPROFILEIMPORTTIME"] = "1"
    running = submit(output, STUDY)
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
    # The token is nowhere.
    assert TOKEN not in head.jobs() + shown
    for path in output.folder.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


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


def test_what_the_cluster_cannot_use_is_refused_in_one_line(
    submit: Submit, head: Head, tmp_path: Path, environment: dict[str, str], smoke: "Output"
) -> None:
    output = type(smoke)
    unknown = submit(output(tmp_path / "a"), "--attach", "bdray-nothing-0")
    assert unknown.wait() == 2
    assert "bdray-nothing-0 does not exist" in unknown.errors
    environment["RAY_AUTH_TOKEN"] = "f" * 40
    stranger = submit(output(tmp_path / "b"), STUDY)
    assert stranger.wait() == 2
    assert "the cluster does not let us in" in stranger.errors
    assert "RAY_AUTH_TOKEN" in stranger.errors
    environment["RAY_AUTH_MODE"] = "disabled"
    nameless = submit(output(tmp_path / "c"), STUDY)
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
