"""What a trial costs beside its training: the engine, Ray's documented recipe, and a plain loop.

Usage: python benchmarks/orchestration.py [--trials 12] [--nested 2]

Trials train nothing, as in ``engine_scale.py``: where a stage would compute, made-up numbers are returned at once, and
all around it is real. What is left is orchestration.

* **Engine**: a grid and a search by Optuna (TPE), on one slot and on two. ``cold_seconds`` is the time from handing out
  the first job to its start in a new process, which has to import PyTorch. ``warm_seconds`` is the time that a slot
  spends on one more trial: from its start to that of the next one in the same process, in the median. Tune, messages,
  store, MLflow and the search are in it.
* **Nested**: Ray's guide "Hyperparameter Tuning with Ray Tune": each Tune trial launches a TorchTrainer of one worker,
  whose function reports once. Nothing is stored or tracked. It imports what a training needs, as our workers do.
* **Loop**: the same made-up stages called one after the other in one process, the floor.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import record
from engine_scale import BASE_YAML, STUDY, STUDY_YAML, compute_nothing, start_ray

SEARCHES = {
    "grid": "",
    "optuna": "search: {type: optuna, sampler: tpe, num_points: POINTS}\n",
}
SLOTS = (1, 2)
TARGET = 1.0
"""Seconds of a slot for one more trial on a warm worker."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=12, help="of each study")
    parser.add_argument("--nested", type=int, default=2, help="trials of the nested recipe")
    parser.add_argument("--only", nargs=2, metavar=("WHAT", "SLOTS"), help=argparse.SUPPRESS)  # one row, in here
    options = parser.parse_args()
    if options.only:
        what, slots = options.only[0], int(options.only[1])
        print(json.dumps(measure(what, slots, options.trials)))
        return
    rows = []
    for what, slots, trials in [
        *((search, slots, options.trials) for search in SEARCHES for slots in SLOTS),
        ("nested", 1, options.nested),
        ("loop", 1, 1000),
    ]:
        rows.append(in_its_own_process(what, slots, trials))
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    slowest = max(row["warm_seconds"] for row in rows if row["what"] in SEARCHES)
    nested = next(row["warm_seconds"] for row in rows if row["what"] == "nested")
    found = {"rows": rows, "nested_over_engine": round(nested / slowest, 1)}
    print(f"a nested trial costs {found['nested_over_engine']} times as much as the engine's dearest")
    record.write(
        "orchestration", found, [record.Claim("one more trial on a warm worker", slowest, "s", at_most=TARGET)]
    )


def in_its_own_process(what: str, slots: int, trials: int) -> dict[str, Any]:
    """Measure one row, with a Ray and an MLflow of its own."""
    with tempfile.TemporaryDirectory(prefix="bdray-bench-") as folder:
        command = [sys.executable, __file__, "--only", what, str(slots), "--trials", str(trials)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=folder)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def measure(what: str, slots: int, trials: int) -> dict[str, Any]:
    """Measure one row, in the working folder."""
    measured: dict[str, Callable[[], dict[str, float]]] = {
        "nested": lambda: nested(trials),
        "loop": lambda: loop(trials),
    }
    found = measured[what]() if what in measured else engine(what, slots, trials)
    return {"what": what, "slots": slots, "trials": trials, **{name: round(value, 4) for name, value in found.items()}}


def engine(search: str, slots: int, trials: int) -> dict[str, float]:
    """A study of bdray."""
    from rich.console import Console

    from bdray.study import runner
    from bdray.study.observer import Observer
    from bdray.study.plan import Job
    from bdray.study.spec import load

    handed_out: list[float] = []

    class Noting(Observer):
        """Notes when jobs are handed out."""

        def start(self, job: Job) -> None:
            handed_out.append(time.time())
            super().start(job)

    write_study(search, trials)
    loaded = load(STUDY)
    start_ray(slots)
    vars(runner)["Observer"] = Noting
    with Path("log.txt").open("w", encoding="utf-8") as log:
        outcome = runner.run(loaded, Console(file=log), lambda plan: None)
    assert (outcome.failures, outcome.pending) == (0, 0)
    stages = [json.loads(path.read_bytes()) for path in Path(loaded.runtime.store_uri).glob("*/*/manifest.json")]
    starts: dict[str, list[float]] = {}
    for stage in stages:
        if stage["stage"] == "defend":
            starts.setdefault(stage["worker"], []).append(stage["started"])
    assert sum(map(len, starts.values())) == trials, "every trial has a result"
    return {
        "cold_seconds": min(stage["started"] for stage in stages) - handed_out[0],
        "warm_seconds": statistics.median(
            later - earlier for times in starts.values() for earlier, later in itertools.pairwise(sorted(times))
        ),
    }


def write_study(search: str, trials: int) -> None:
    """A grid of that many values of λ₂, or a search of that many points, over one victim."""
    values = str([round(0.01 * (number + 1), 2) for number in range(trials)])
    study = STUDY_YAML.replace("VALUES", values)
    if search != "grid":
        study = study.replace(f"values: {values}", "low: 0.01, high: 8, log: true")
    files = {
        "base/nothing": BASE_YAML.replace("EPOCHS", "1"),
        STUDY: study + SEARCHES[search].replace("POINTS", str(trials)),
    }
    for name, text in files.items():
        path = Path("studies") / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def nested(trials: int) -> dict[str, float]:
    """Ray's recipe: a TorchTrainer in each trial, one trial at a time."""
    import uuid

    import ray.train
    import ray.tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    folder = str(Path.cwd())

    def train_fn_per_worker(config: dict[str, Any]) -> None:
        import bdray.training.loop  # noqa: F401

        ray.train.report({"loss": config["weight"]})

    def train_driver_fn(config: dict[str, Any]) -> None:
        TorchTrainer(
            train_fn_per_worker,
            train_loop_config=config,
            scaling_config=ray.train.ScalingConfig(num_workers=1),
            run_config=ray.train.RunConfig(
                name=f"train-{uuid.uuid4().hex}",
                storage_path=folder,
                callbacks=[TuneReportCallback()],  # type: ignore[list-item]
            ),
        ).fit()

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=SLOTS[-1] + 1, include_dashboard=False, log_to_driver=False)
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(train_driver_fn, {"CPU": 1}),
        param_space={"weight": ray.tune.grid_search([float(number) for number in range(trials)])},
        tune_config=ray.tune.TuneConfig(max_concurrent_trials=1),
        run_config=ray.tune.RunConfig(storage_path=folder, verbose=0),
    )
    started = time.perf_counter()
    results = tuner.fit()
    seconds = time.perf_counter() - started
    assert results.num_errors == 0, results.errors
    losses = [results[number].metrics for number in range(len(results))]
    assert sorted(found["loss"] for found in losses if found) == list(range(trials))
    return {"warm_seconds": seconds / trials}


def loop(trials: int) -> dict[str, float]:
    """The made-up stages one after the other."""
    from bdray.pipeline.stages import Context, Defend, Evaluate
    from bdray.pipeline.store import Store
    from bdray.study.spec import load

    write_study("grid", trials)
    loaded = load(STUDY)
    points = loaded.study.axes["defense.in_modal_weight"].values or ()
    experiments = [loaded.trial({"defense.in_modal_weight": value}, 0).experiment for value in points]
    compute_nothing()
    context, folder = Context(Store("store", Path("cache")), Path("cache")), Path()
    started = time.perf_counter()
    for experiment in experiments:
        model = Defend(experiment)
        model.compute(context, folder)
        Evaluate(experiment, model).compute(context, folder)
    return {"warm_seconds": (time.perf_counter() - started) / trials}


if __name__ == "__main__":
    main()
