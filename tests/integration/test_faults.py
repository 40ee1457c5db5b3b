"""Trouble from outside: kills at random moments, full disks, lost processes and a lost MLflow. The study stands it."""

import contextlib
import csv
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import SmallDisk
    from tests.integration.conftest import Driver, Output

Start = Callable[..., "Driver"]
Study = Callable[..., int]
pytestmark = pytest.mark.slow
STUDY = "smoke/lambda2"
RESTARTS = 20
PATIENCE = 240.0
LATEST = 8.0
"""Seconds after its start at which a driver is killed at the latest; a quiet machine trains by then."""


def dataframe(output: "Output", name: str = "tidy.csv") -> list[dict[str, str]]:
    """Every number of the study but how long it took."""
    with (output.report(STUDY) / name).open(newline="", encoding="utf-8") as file:
        rows = [{key: value for key, value in row.items() if "seconds" not in key} for row in csv.DictReader(file)]
    return [row for row in rows if "seconds" not in row.get("metric", "")]


def kill(driver: "Driver", *, whole: bool) -> None:
    """End a driver, or it and all its processes, as a machine does that loses its power."""
    for pid in driver.descendants() if whole else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    driver.process.kill()
    driver.process.wait()


def wait_for_training(driver: "Driver") -> None:
    """Until an epoch is done, or the driver has found that there is none to do."""
    end = time.monotonic() + PATIENCE
    while ": epoch" not in driver.log.read_text() and driver.process.poll() is None:
        assert time.monotonic() < end, driver.log.read_text() + driver.errors
        time.sleep(0.05)


@pytest.mark.soak
def test_twenty_kills_at_random_moments(driver: Start, run_study: Study, tmp_path: Path) -> None:
    from tests.integration.conftest import Output

    words = [STUDY, "pretrain.recipe.epochs=3", "defense.recipe.epochs=6"]
    output, undisturbed = Output(tmp_path / "output"), Output(tmp_path / "undisturbed")
    draw = random.Random(0)
    for number in range(RESTARTS):
        running = driver(output, *words)
        # At any moment: before there is a cluster, in the middle of an epoch or of a file, or after the end. Every
        # third one has an epoch done before, however busy the machine is.
        if number % 3 == 2:
            wait_for_training(running)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(draw.uniform(0, 3) if number % 3 == 2 else draw.uniform(1, LATEST))
        kill(running, whole=draw.random() < 0.5)
    last = driver(output, *words)
    assert last.wait() == 0, last.errors
    assert run_study(undisturbed, *words) == 0
    # Every number is that of a run that nobody disturbed, to the last bit, and each is there once.
    assert dataframe(output) == dataframe(undisturbed)
    for name in ("results.csv", "history.csv"):
        assert dataframe(output, name) == dataframe(undisturbed, name)
    assert output.manifests().keys() == undisturbed.manifests().keys()
    assert output.checkpoints() == []
    # MLflow has each run once, closed, and each epoch once, in order.
    tracked, expected = output.tracked(STUDY), undisturbed.tracked(STUDY)
    assert tracked.states == expected.states == dict.fromkeys(expected.runs, "FINISHED")
    for name, run in expected.runs.items():
        for metric in run.data.metrics:
            assert tracked.steps(name, metric) == expected.steps(name, metric)


def test_a_full_disk_fails_the_trial_that_needs_it(
    smoke: "Output",
    run_study: Study,
    small_disk: "Callable[[int], SmallDisk]",
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    disk = small_disk(64)
    output = smoke.copy(tmp_path / "output", without="defend")
    output.store.rename(tmp_path / "elsewhere")
    subprocess.run(["cp", "-r", str(tmp_path / "elsewhere"), str(disk.folder / "store")], check=True)
    words = [STUDY, "--store", str(disk.folder / "store")]
    disk.fill(leave=50_000)
    # The others would go on; here all need room.
    assert run_study(output, *words) == 1
    shown = capsys.readouterr()
    failed = [line for line in shown.out.splitlines() if "FAILED" in line]
    assert len(failed) == 2
    assert all("No space left on device" in line for line in failed)
    assert "Traceback" not in shown.out + shown.err
    tracked = output.tracked(STUDY)
    assert [tracked.states[f"λ₂={value} seed=0"] for value in (0, 1)] == ["FAILED", "FAILED"]
    assert "No space left on device" in (output.report(STUDY) / "report.html").read_text()
    disk.free()
    # With room the same command makes up for it.
    assert run_study(output, *words) == 0
    assert dataframe(output) == dataframe(smoke)
    assert set(output.tracked(STUDY).states.values()) == {"FINISHED"}


def test_a_full_disk_of_results_is_one_line(
    smoke: "Output",
    run_study: Study,
    small_disk: "Callable[[int], SmallDisk]",
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    disk = small_disk(8)
    output = smoke.copy(tmp_path / "output")
    (output.folder / "studies").symlink_to(disk.folder)
    disk.fill()
    assert run_study(output, STUDY) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    # What is wrong, where, and what to do.
    assert "the study's results cannot be written (No space left on device). Make room" in line
    run = output.tracked(STUDY).runs[STUDY]
    # MLflow's users do not wait for it, and see why.
    assert run.info.status == "KILLED"
    assert "No space left on device" in run.data.tags["bdray.reason"]
    disk.free()
    assert run_study(output, STUDY) == 0
    assert dataframe(output) == dataframe(smoke)


def test_a_process_that_prepares_images_is_killed(
    reference: "Output", one_trial: list[str], driver: Start, tmp_path: Path
) -> None:
    output = reference.copy(tmp_path / "output", without="defend")
    running = driver(output, *one_trial, "cpus=1", "training.loader_processes=1")
    helpers: list[int] = []

    def is_loading() -> bool:
        """Whether the trial's process has forked another one, after an epoch."""
        workers = {pid for pid, command in running.descendants().items() if command.startswith("ray::ImplicitFunc")}
        helpers[:] = [pid for pid in workers if parent(pid) in workers]
        return bool(helpers) and bool(output.checkpoints("defend"))

    running.until(is_loading)
    os.kill(helpers[0], signal.SIGKILL)
    # As the kernel does where memory is short. The study helps itself, without a word to the user.
    assert running.wait() == 0, running.errors
    log = running.log.read_text()
    assert "FAILED" not in log
    assert "Traceback" not in log + running.errors
    # In the folder of results is what happened.
    assert "DataLoader worker (pid" in (output.report(STUDY) / "errors.log").read_text()
    assert dataframe(output) == dataframe(reference)
    assert log.count("epoch 1/12") <= 1


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return 0


class Server:
    """MLflow in a process of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._folder, self._port = folder, free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        words = ["--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        words += ["--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        words += ["--artifacts-destination", str(self._folder / "files")]
        light = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "log.txt").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words],
                env=os.environ | light,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + 120
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
                return
            time.sleep(0.2)
        pytest.fail((self._folder / "log.txt").read_text())

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "server")
    yield running
    running.kill()


def test_mlflow_is_lost_and_comes_back(
    server: Server, reference: "Output", one_trial: list[str], driver: Start, tmp_path: Path
) -> None:
    from tests.integration.conftest import Tracked

    output = reference.copy(tmp_path / "output", without="defend")
    words = [*one_trial, "cpus=1", f"tracking_uri={server.uri}"]
    running = driver(output, *words)
    running.until(lambda: output.checkpoints("defend"))
    server.kill()
    # The study is done all the same, with all its numbers, and says what waits.
    assert running.wait() == 0, running.errors
    assert "records wait for the MLflow server; the next run sends them." in running.log.read_text()
    assert dataframe(output) == dataframe(reference)
    before = output.manifests()
    server.start()
    again = driver(output, *words)
    assert again.wait() == 0, again.errors
    assert "records wait" not in again.log.read_text()
    # The next run only sends them: MLflow has each run once, closed, and each epoch once.
    assert output.manifests() == before
    tracked, expected = Tracked(server.uri, STUDY), reference.tracked(STUDY)
    assert tracked.states == expected.states
    assert tracked.steps("λ₂=1 seed=0", "loss") == list(range(1, 13))
