"""What the engine itself costs: studies of many trials that train nothing.

Run: ``python benchmarks/engine_scale.py [--full]``.

Everything is real but the science: the study is read from YAML, planned, run by the runner on a local Ray with two
slots, scheduled by Tune in warm processes, remembered by the store, tracked by MLflow in SQLite, and reported. Only in
the workers, where a stage would compute, made-up numbers are returned at once: Ray's hook for new worker processes
replaces ``compute`` of the four stages, so that keys, manifests, epochs, messages and records are those of any study.

Each size runs in a process of its own, into an empty folder. ``seconds_per_trial`` is the time from the first trial's
start to the last one's end over the number of trials, at two slots; the base, the victim and Ray's start are not in it,
and are in ``wall_seconds``. ``end_seconds`` is the time from the last trial's end to the end of it all: Ray's end, the
report, and its files in MLflow. The processor time of the driver depends less on what else the machine does. Memory is
that of the driver, from a tenth of the trials to the last. MLflow must hold every run once, closed and with its
numbers, and no point of a curve twice. With ``--full`` the curves over the sizes are drawn in
``results/engine_scale.svg``.
"""

import argparse
import json
import logging
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import record

SIZES, FULL = (10, 100, 300), (10, 100, 1000, 2000)
CURVES = {
    "seconds_per_trial": ("time per trial at two slots", "s", 0.15),
    "driver_cpu_seconds_per_trial": ("the driver's processor time per trial, with start and report", "s", None),
    "driver_kb_per_trial": ("growth of the driver's memory per trial", "KB", 50),
    "end_seconds": ("report and end", "s", None),
}
"""What is drawn over the number of trials: title, unit and, if there is one, the target."""
SLOTS = 2
STUDY = "bench/scale"
BASE_YAML = """
data: {type: scenes, num_train: 64, num_finetune: 64, num_validation: 16, num_test: 32}
model: {architecture: scenes-rn8}
pretrain: {recipe: &recipe {epochs: 1, batch_size: 32, learning_rate: 1e-3}}
attack: {trigger: {type: badnet, size: 6}, num_poisoned: 8}
victim: {recipe: *recipe}
defense: {type: cleanclip, recipe: {epochs: EPOCHS, batch_size: 32, learning_rate: 1e-3}}
"""
STUDY_YAML = """
title: What the engine costs
base: nothing
axes: {defense.in_modal_weight: {label: λ₂, values: VALUES}}
seeds: [0]
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="*", help=f"sizes of the studies; by default {SIZES}")
    parser.add_argument("--full", action="store_true", help=f"the sizes {FULL}")
    parser.add_argument("--epochs", type=int, default=1, help="epochs that every trial reports")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)  # run one size in this process
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.trials[0], options.epochs, options.here)))
        return
    rows = []
    for trials in options.trials or (FULL if options.full else SIZES):
        rows.append(in_its_own_process(trials, options.epochs))
        print("  ".join(f"{name}={value}" for name, value in rows[-1].items()), flush=True)
    name = "engine_scale" if options.full else "engine_scale-short"
    found = {"slots": SLOTS, "epochs": options.epochs, "studies": rows}
    record.write(name, found, claims(rows[-1]) if options.full else ())
    if options.full:
        draw(rows, record.RESULTS / f"{name}.svg")


def claims(row: dict[str, Any]) -> list[record.Claim]:
    """What the largest study decides."""
    size = f"of {row['trials']:,} trials"
    return [
        record.Claim(f"engine, {size}, two slots: time per trial", row["seconds_per_trial"], "s", at_most=0.15),
        record.Claim(f"engine, {size}: the driver grows per trial by", row["driver_kb_per_trial"], "KB", at_most=50),
    ]


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """A panel for each measured quantity, with its target as a dashed line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    for axes, (name, (title, unit, target)) in zip(figure.subplots(2, 2).flat, CURVES.items(), strict=True):
        points = [(row["trials"], row[name]) for row in rows if row[name] is not None]
        axes.plot([trials for trials, _ in points], [value for _, value in points], marker="o")
        if target is not None:
            axes.axhline(target, ls="--", color="gray")
        axes.set_title(title, fontsize=9)
        axes.set(xscale="log", xlabel="trials", ylabel=unit, ylim=(0, None))
    figure.savefig(path, metadata={"Date": None})


def in_its_own_process(trials: int, epochs: int) -> dict[str, Any]:
    """Measure a study of that size."""
    with tempfile.TemporaryDirectory(prefix="bdray-scale-") as folder:
        words = ["--trials", str(trials), "--epochs", str(epochs), "--here", folder]
        done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def measure(trials: int, epochs: int, folder: Path) -> dict[str, Any]:
    """Run a study in this process."""
    from rich.console import Console

    from bdray.study import runner
    from bdray.study.spec import load

    write_study(folder, trials, epochs)
    os.chdir(folder)
    start_ray()
    loaded = load(STUDY)
    began, busy = time.time(), time.process_time()
    memory = Memory()
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        outcome = runner.run(loaded, Console(file=log), lambda plan: None)
    memory.close()
    ended, busy = time.time(), time.process_time() - busy
    store = Path(loaded.runtime.store_uri)
    spans = [span(path) for path in store.glob("defend/*/manifest.json")]
    assert len(spans) == trials, f"{len(spans)} of {trials} trials have a result"
    assert (outcome.failures, outcome.pending) == (0, 0)
    check_tracking(loaded.runtime.output.absolute() / "mlflow.db", trials, epochs)
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    return {
        "trials": trials,
        "seconds_per_trial": round((last - first) / trials, 4),
        "wall_seconds": round(ended - began, 1),
        "end_seconds": round(ended - last, 1),
        "driver_cpu_seconds_per_trial": round(busy / trials, 4),
        "driver_kb_per_trial": memory.growth([end for _, end in spans]),
        "driver_mb_at_the_end": round(memory.samples[-1][1] / 1e6),
    }


def write_study(folder: Path, trials: int, epochs: int) -> None:
    """A grid of that many values of λ₂ over one victim."""
    files = {
        "base/nothing": BASE_YAML.replace("EPOCHS", str(epochs)),
        STUDY: STUDY_YAML.replace("VALUES", str([round(0.01 * (number + 1), 2) for number in range(trials)])),
    }
    for name, text in files.items():
        path = folder / "studies" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def start_ray(slots: int = SLOTS) -> None:
    """A local Ray as the engine starts it, in whose workers stages compute nothing."""
    import ray

    from bdray.study.cluster import ENVIRONMENT, OBJECT_STORE_BYTES

    os.environ.update(ENVIRONMENT)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a new worker does not find this file
    ray.init(
        address="local",
        num_cpus=slots,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"worker_process_setup_hook": compute_nothing},
    )


def compute_nothing() -> None:
    """Replace what stages compute in this process by numbers that are made up."""
    from bdray.pipeline.stages import Defend, Evaluate, PoisonVictim, Pretrain

    rates = {"clean_accuracy_top1": 0.5, "attack_success_rate_top1": 0.25}

    def train(stage: Any, context: Any, folder: Path) -> dict[str, Any]:
        history = []
        for epoch in range(1, stage.epochs + 1):
            history.append({"epoch": float(epoch), "loss": 1 / epoch, "train_seconds": 0.0, **rates})
            context.report(stage.name, history[-1])
        return {"metrics": history[-1], "history": history}

    def judge(stage: Any, context: Any, folder: Path) -> dict[str, Any]:
        return {"metrics": {metric: 0.5 for one in stage.experiment.evaluation.metrics for metric in one.names}}

    for kind in (Pretrain, PoisonVictim, Defend):
        kind.compute = train  # type: ignore[assignment, method-assign]
    Evaluate.compute = judge  # type: ignore[assignment, method-assign]


class Memory:
    """The memory of this process over time."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float]] = []
        """Unix time and resident bytes."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            self.samples.append((time.time(), float(process.memory_info().rss)))
            if self._stop.wait(0.25):
                return

    def close(self) -> None:
        """Take no more samples."""
        self._stop.set()
        self._thread.join()

    def growth(self, ends: list[float]) -> float | None:
        """KB per trial between a tenth of the trials and the last; None for studies too small to tell."""
        ends = sorted(ends)
        first = len(ends) // 10
        if len(ends) < 50:
            return None
        rise = self._at(ends[-1]) - self._at(ends[first])
        return round(rise / 1e3 / (len(ends) - 1 - first), 1)

    def _at(self, moment: float) -> float:
        return min(self.samples, key=lambda sample: abs(sample[0] - moment))[1]


def span(path: Path) -> tuple[float, float]:
    """When a stage began and ended, in Unix time."""
    manifest = json.loads(path.read_text(encoding="utf-8"))
    return manifest["started"], manifest["started"] + manifest["seconds"]


def check_tracking(database: Path, trials: int, epochs: int) -> None:
    """Refuse a database in which a run is missing, open, there twice or without numbers, or a point is there twice."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as opened:
        tags = dict(opened.execute("SELECT run_uuid, value FROM tags WHERE key = 'bdray.key'"))
        states = dict(opened.execute("SELECT run_uuid, status FROM runs"))
        points = opened.execute("SELECT run_uuid, COUNT(*) FROM metrics WHERE key = 'loss' GROUP BY run_uuid")
        losses = dict(points.fetchall())
        twice = opened.execute(
            "SELECT COUNT(*) FROM (SELECT 1 FROM metrics GROUP BY run_uuid, key, step HAVING COUNT(*) > 1)"
        ).fetchone()[0]
    assert len(states) == len(tags) == len(set(tags.values())) == trials + 3, "a run is missing, or there twice"
    assert set(states.values()) == {"FINISHED"}, "a run is not closed"
    assert sorted(losses.values()) == sorted([1, 1, *[epochs] * trials]), "a run lacks epochs"
    assert twice == 0, "a point is there twice"


if __name__ == "__main__":
    main()
