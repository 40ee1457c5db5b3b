"""How fast metrics reach MLflow, and what tracking costs a training.

Usage: python benchmarks/tracking.py [--steps 40] [--epochs 9]

* **Rate**: the streams of eight workers, each an epoch's numbers at a time, by turns, as a driver with eight slots gets
  them, through ``bdray.tracking.Tracker``: to a SQLite file, and to an MLflow server of our own on a PostgreSQL of our
  own (skipped, with the reason, where the programs are missing). A write is one metric at one step; a call carries all
  of an epoch's.
* **Slowdown**: one training (CleanCLIP on 1,000 scenes, one thread) of which every second epoch is tracked, into
  SQLite and in the training's own process. A study tracks in the driver's, so this is the most it can cost there.
"""

import argparse
import os
import pwd
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import record

STREAMS = 8
METRICS = 10
"""Of an epoch: losses, rates and times."""
MOST = 0.02
"""Share of a training that tracking may cost."""
PATIENCE = 120
"""Seconds in which a server has to answer."""


class MissingProgramError(Exception):
    """What is needed to measure is not installed."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help="epochs of each stream")
    parser.add_argument("--epochs", type=int, default=9, help="of the training, half of which are tracked")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bdray-bench-") as name:
        folder = Path(name)
        found: dict[str, Any] = {"streams": STREAMS, "metrics_of_a_call": METRICS}
        measured: dict[str, Callable[[], dict[str, Any]]] = {
            "sqlite": lambda: rate(f"sqlite:///{folder / 'mlflow.db'}", folder / "spool", options.steps),
            "server_on_postgresql": lambda: server_rate(folder, options.steps),
            "slowdown": lambda: slowdown(folder, options.epochs),
        }
        for what, measure in measured.items():
            found[what] = measure()
            print(f"{what:>22}  {found[what]}", flush=True)
    share = found["slowdown"]["share"]
    record.write(
        "tracking", found, [record.Claim("tracking, of a training's time", 100 * share, "%", at_most=100 * MOST)]
    )


def rate(uri: str, spool: Path, steps: int) -> dict[str, Any]:
    """Writes a second, and milliseconds of a call."""
    from bdray.tracking import Tracker

    calls = []
    with Tracker(uri, spool) as tracker:
        tracker.start_study("bench", "bench", params={}, tags={}, description="A benchmark.")
        keys = [f"stream{number}" for number in range(STREAMS)]
        for key in keys:
            tracker.start_run(key, key, params={"seed": 0}, tags={})
        for step in range(1, steps + 1):
            for key in keys:
                metrics = {f"metric{number}": 1 / (step + number) for number in range(METRICS)}
                started = time.perf_counter()
                tracker.log(key, step, metrics)
                calls.append(time.perf_counter() - started)
        assert (tracker.pending, tracker.refused) == (0, 0), "all was taken"
    calls.sort()
    return {
        "writes_per_second": round(len(calls) * METRICS / sum(calls)),
        "median_ms_of_a_call": round(1000 * statistics.median(calls), 2),
        "slowest_of_20_ms": round(1000 * calls[int(0.95 * len(calls))], 2),
    }


def server_rate(folder: Path, steps: int) -> dict[str, Any]:
    """The same through an MLflow server on PostgreSQL, or why not."""
    try:
        with postgres() as database, server(database, folder) as address:
            return rate(address, folder / "spool-server", steps)
    except MissingProgramError as reason:
        return {"skipped": str(reason)}


def slowdown(folder: Path, epochs: int) -> dict[str, Any]:
    """The time of tracked epochs over that of the others."""
    import torch

    from bdray.models.clip import Model
    from bdray.objective import ContrastiveObjective
    from bdray.testing import tiny_scenes
    from bdray.text.eda import Eda
    from bdray.tracking import Tracker
    from bdray.training.optim import Recipe
    from bdray.training.session import Session

    torch.set_num_threads(1)
    model = Model(architecture="scenes-rn")
    pairs = tiny_scenes(num_finetune=1000).load("finetune", folder)
    whole: list[float] = []
    calls: list[float] = []
    with Tracker(f"sqlite:///{folder / 'training.db'}", folder / "spool-training") as tracker:
        tracker.start_study("bench", "bench", params={}, tags={}, description="A benchmark.")
        tracker.start_run("training", "training", params={}, tags={})
        last = [time.perf_counter()]

        def note(metrics: Mapping[str, float]) -> None:
            began = time.perf_counter()
            if int(metrics["epoch"]) % 2 == 0:
                tracker.log("training", int(metrics["epoch"]), metrics)
                calls.append(time.perf_counter() - began)
            now = time.perf_counter()
            whole.append(now - last[0])
            last[0] = now

        Session(tokenizer=model.tokenizer(), seed=0, report=note).train(
            model.build(0),
            ContrastiveObjective(1.0, 1.0),
            Recipe(epochs=epochs, batch_size=64, learning_rate=1e-3, warmup_steps=0),
            pairs.images,
            pairs.captions,
            text_augmentation=Eda(),
        )
    tracked, others = whole[1::2], whole[2::2]  # the first epoch warms up
    return {
        "epoch_seconds": round(statistics.median(others), 3),
        "tracked_over_not": round(statistics.median(tracked) / statistics.median(others), 4),
        "call_ms": round(1000 * statistics.median(calls), 2),
        "share": round(sum(calls) / sum(tracked), 5),
    }


@contextmanager
def postgres() -> Iterator[str]:
    """The URI of a PostgreSQL server that lives as long as this."""
    programs = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
    if programs is None:
        raise MissingProgramError("needs a PostgreSQL server: apt-get install postgresql")
    user = "postgres" if os.getuid() == 0 else None  # as root the server refuses to run
    if user and user not in {entry.pw_name for entry in pwd.getpwall()}:
        raise MissingProgramError("needs a user that the PostgreSQL server may run as")
    password, port = secrets.token_hex(16), free_port()
    with tempfile.TemporaryDirectory(prefix="bdray-pg-") as name:
        folder = Path(name)
        (folder / "password").write_text(password)
        if user:
            shutil.chown(folder, user)
            shutil.chown(folder / "password", user)
        options = ["-D", str(folder / "data"), "-A", "scram-sha-256", "-U", "bdray", f"--pwfile={folder / 'password'}"]
        subprocess.run([programs / "initdb", *options], check=True, capture_output=True, user=user)
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", "-k", folder, "-p", str(port), "-h", "127.0.0.1"],
                stdout=log,
                stderr=log,
                user=user,
            )
        try:
            knock = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            wait_for(lambda: subprocess.run(knock).returncode == 0, "PostgreSQL")
            yield f"postgresql+psycopg://bdray:{password}@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # which does not wait for clients to leave
            process.wait(30)


@contextmanager
def server(database: str, folder: Path) -> Iterator[str]:
    """The address of an MLflow server with that database."""
    port = free_port()
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "2", "--artifacts-destination", str(folder)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment["MLFLOW_BACKEND_STORE_URI"] = database  # not on the command line, which all can read
    with (folder / "server.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *where],
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"), "MLflow")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def answers(address: str) -> bool:
    """Whether a server is up."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - of our own
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_for(is_there: Callable[[], bool], name: str) -> None:
    """Wait for a server."""
    for _ in range(2 * PATIENCE):
        if is_there():
            return
        time.sleep(0.5)
    raise TimeoutError(f"{name} did not answer within {PATIENCE} s")


def free_port() -> int:
    """A port of this machine that nobody has."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
