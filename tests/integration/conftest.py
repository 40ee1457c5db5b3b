"""Studies that really run: on one Ray for the session, or by a driver of their own that can be killed."""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mlflow.entities import Run
    from torch import Tensor

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0
"""Seconds to wait for what must happen; the machine may be busy."""


@dataclass
class Output:
    """The folder of everything that a study leaves, and how to look into it."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def manifests(self, stage: str = "*") -> dict[str, int]:
        """When each finished stage was written, by its folder."""
        found = self.store.glob(f"{stage}/*/manifest.json")
        return {f"{path.parts[-3]}/{path.parts[-2]}": path.stat().st_mtime_ns for path in found}

    def checkpoints(self, stage: str = "*") -> list[Path]:
        """States of unfinished stages."""
        return list(self.store.glob(f"unfinished/{stage}-*/*/checkpoint.safetensors"))

    def manifest(self, stage: str) -> dict[str, Any]:
        """The manifest of the only stage of its kind."""
        (path,) = self.store.glob(f"{stage}/*/manifest.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def weights(self, stage: str) -> "dict[str, Tensor]":
        """The model of the only stage of its kind."""
        from bdray.models import weights
        from bdray.pipeline.store import Store

        (path,) = self.store.glob(f"{stage}/*/manifest.json")
        return weights.load(Store(str(self.store), self.folder).fetch(stage, path.parent.name, "model.safetensors"))

    def report(self, name: str) -> Path:
        """The folder of results of a study, whether it was changed on the command line or not."""
        (found,) = [path.parent for path in (self.folder / "studies").rglob("study.json") if name in str(path)]
        return found

    def rows(self, name: str) -> list[dict[str, str]]:
        """``results.csv``."""
        with (self.report(name) / "results.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def tracked(self, study: str) -> "Tracked":
        return Tracked(f"sqlite:///{self.folder / 'mlflow.db'}", study)

    def copy(self, to: Path, *, without: str = "nothing") -> "Output":
        """Another output folder that has prepared data and all stages but one kind, with their evaluations."""
        shutil.copytree(self.folder / "cache", to / "cache")
        shutil.copytree(self.store, to / "store", ignore=shutil.ignore_patterns(without))
        for path in (to / "store").glob("evaluate/*/manifest.json"):
            if without in json.loads(path.read_text())["inputs"]:
                shutil.rmtree(path.parent)
        return Output(to)


class Tracked:
    """What a study looks like in MLflow."""

    def __init__(self, uri: str, study: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)
        experiment = self.client.get_experiment_by_name(study)
        assert experiment is not None
        self.runs: dict[str, Run] = {}
        for run in self.client.search_runs([experiment.experiment_id]):
            # Two runs of one name are a duplicate.
            assert run.info.run_name not in self.runs
            self.runs[run.info.run_name] = run

    @property
    def states(self) -> dict[str, str]:
        return {name: run.info.status for name, run in self.runs.items()}

    def steps(self, run: str, metric: str) -> list[int]:
        """Steps of a metric, in order, with all repetitions."""
        return sorted(point.step for point in self.client.get_metric_history(self.runs[run].info.run_id, metric))


def _stack(pid: int, command: str) -> str:
    """What a process is doing, by py-spy."""
    dump = [str(Path(sys.executable).with_name("py-spy")), "dump", "--pid", str(pid)]
    return f"{command}\n{subprocess.run(dump, capture_output=True, text=True, check=False).stdout}"


@dataclass
class Driver:
    """``python -m bdray.study`` in a process of its own, which may be killed."""

    words: list[str]
    output: Output
    environment: dict[str, str]
    _seen: set[int] = field(default_factory=set)
    """All processes that it started, and those that these started, as far as we looked."""

    def __post_init__(self) -> None:
        self.output.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.output.folder / "driver.log"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bdray.study", *self.words, "--output", str(self.output.folder)],
            cwd=ROOT,
            env=self.environment,
            stdout=self.log.open("w"),
            stderr=(self.output.folder / "driver.err").open("w"),
            start_new_session=True,  # a group of its own, as a terminal gives it
            # A shell that starts the tests in the background lets them ignore Ctrl-C, and so would all their children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    @property
    def errors(self) -> str:
        return (self.output.folder / "driver.err").read_text()

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait for something that must happen while the driver runs."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"the driver ended: {self.log.read_text()}{self.errors}"
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def wait(self) -> int:
        """Its exit status. If it hangs, the failure shows what it printed, and where its processes are."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            stacks = [_stack(pid, command) for pid, command in self.descendants().items() if "ray::" in command]
            pytest.fail(
                "\n".join(["it hangs", self.log.read_text(), self.errors, _stack(self.process.pid, "driver"), *stacks])
            )

    def descendants(self) -> dict[int, str]:
        """Command lines of all processes below the driver, by id."""
        parents, commands = {}, {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                commands[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        self._seen |= found
        return {pid: commands[pid] for pid in found - {self.process.pid}}

    def trial_process(self) -> int:
        """The process that trains."""
        (pid,) = [pid for pid, command in self.descendants().items() if command.startswith("ray::ImplicitFunc")]
        return pid

    def left_over(self, seconds: float = 60.0) -> list[str]:
        """Its processes that still run after some time.

        Not counted are zombies, whose end only their new parent may note, and two agents of Ray that compute nothing
        and take up to a minute to see that their node is gone.
        """
        end = time.monotonic() + seconds
        while True:
            found = []
            for pid in self._seen - {self.process.pid}:
                with contextlib.suppress(OSError):
                    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                    command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
                    if state != "Z" and "gent" not in command:
                        found.append(command)
            if not found or time.monotonic() > end:
                return found
            time.sleep(0.2)

    def clean_up(self) -> None:
        """End what is left of it, process by process."""
        self.descendants()
        for pid in self._seen:
            with contextlib.suppress(OSError):
                if pid == self.process.pid or b"ray" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For drivers: no tokens in the home folder, no statistics sent, our code."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "PYTEST"))}
    return kept | {"PYTHONPATH": path, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "COLUMNS": "200"}


@pytest.fixture(scope="session")
def our_ray(environment: dict[str, str]) -> Iterator[None]:
    """One local Ray for all studies that nobody kills, with room for two workers of a nested trial."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        from bdray.study.cluster import cluster
        from bdray.study.runtime import Launch, Runtime

        with cluster(Runtime(cpus=2, training=Launch(num_workers=2))):
            yield


Study = Callable[..., int]


@pytest.fixture(scope="session")
def run_study(our_ray: None) -> Study:
    """Runs a study on the session's Ray; returns the exit status."""
    from bdray.study.__main__ import main

    def run(output: Output, *words: str) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)
            return main([*words, "--output", str(output.folder)])

    return run


@pytest.fixture
def driver(environment: dict[str, str]) -> Iterator[Callable[..., Driver]]:
    """Starts a study in a process of its own; with more variables in its environment, if need be."""
    started: list[Driver] = []

    def start(output: Output, *words: str, **variables: str) -> Driver:
        started.append(Driver([*words], output, environment | variables))
        return started[-1]

    yield start
    for each in started:
        each.clean_up()


@pytest.fixture(scope="session")
def smoke(run_study: Study, tmp_path_factory: pytest.TempPathFactory) -> Output:
    """``smoke/lambda2`` from an empty store."""
    output = Output(tmp_path_factory.mktemp("smoke"))
    assert run_study(output, "smoke/lambda2") == 0
    return output


@pytest.fixture(scope="session")
def one_trial() -> list[str]:
    """``smoke/lambda2`` with one trial, which takes long enough to be killed in the middle."""
    words = ["defense.recipe.epochs=12", "axes={defense.in_modal_weight: {values: [1]}}", "compare=[]"]
    return ["smoke/lambda2", *words]


@pytest.fixture(scope="session")
def reference(
    smoke: Output, one_trial: list[str], run_study: Study, tmp_path_factory: pytest.TempPathFactory
) -> Output:
    """``one_trial`` as it ends when nobody interrupts it."""
    output = smoke.copy(tmp_path_factory.mktemp("reference") / "output", without="defend")
    assert run_study(output, *one_trial) == 0
    return output
