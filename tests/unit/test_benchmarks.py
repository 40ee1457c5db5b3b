"""Benchmarks in miniature, on what there is: that they run, and that what they compare is the same."""

import importlib.util
import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
import pytest
import torch

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


def load(path: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Benchmarks find each other beside themselves."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return BENCHMARKS


@pytest.mark.slow
def test_training_on_a_gpu_runs_in_miniature_on_a_cpu() -> None:
    command = [sys.executable, str(BENCHMARKS / "gpu_training.py"), "--device", "cpu", "--tiny"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # One line for each of the two objectives, with both rates, and one for two trials at once.
    measured = ["objective FT", "objective CleanCLIP", "objective CleanCLIP"]
    assert [line.split("  ")[2] for line in done.stdout.splitlines()] == measured
    assert done.stdout.count("bare_samples_per_second") == 2
    assert done.stdout.count("trials 2") == 1


@pytest.mark.slow
def test_a_training_step_is_measured_in_miniature() -> None:
    command = [sys.executable, str(BENCHMARKS / "training_step.py"), "--settings", "tiny", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # All three methods against both other sides; second views are made and kept where there are any.
    methods = ["method FT", "method CleanCLIP", "method CleanerCLIP"]
    assert [line.split("  ")[1] for line in done.stdout.splitlines()] == methods
    assert ["cold_times_usual" in line for line in done.stdout.splitlines()] == [False, True, True]
    assert done.stdout.count("share_of_bare") == done.stdout.count("  times_usual") == 3


@pytest.mark.slow
@pytest.mark.soak
def test_two_workers_are_measured_in_miniature() -> None:
    command = [sys.executable, str(BENCHMARKS / "distribution.py"), "--tiny", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        row = dict(cell.split(" ", 1) for cell in line.split("  "))
        # The gradients of two workers are those of one, and features and gradients are sent once: no byte is missing.
        assert float(row["largest_gradient_difference"]) < 1e-10 < float(row["largest_gradient"])
        sent = json.loads(row["bytes_per_step"].replace("'", '"'))
        assert sent["features"] + sent["gradients"] == int(row["least_bytes_per_step"])
    assert done.stdout.count("method") == 2


@pytest.mark.slow
def test_the_engine_is_measured_in_miniature(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "engine_scale.py"), "--trials", "3", "--epochs", "2"]
    done = subprocess.run([*command, "--here", str(tmp_path)], capture_output=True, text=True, check=True)
    # The script itself refuses a study that lacks a result, or whose runs are not in MLflow once, closed and whole.
    assert json.loads(done.stdout.splitlines()[-1])["trials"] == 3
    # What ran was the study's own machinery: real stages by their keys, and a report.
    (folder,) = (tmp_path / ".bdray" / "studies").rglob("report.html")
    assert "λ₂" in folder.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("what", "trials"), [pytest.param("optuna", 3, marks=pytest.mark.soak), ("loop", 2)])
def test_orchestration_is_measured_in_miniature(tmp_path: Path, what: str, trials: int) -> None:
    command = [sys.executable, str(BENCHMARKS / "orchestration.py"), "--only", what, "2", "--trials", str(trials)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    found = json.loads(done.stdout.splitlines()[-1])
    # A loop over stages that compute nothing is the floor, of which no millisecond is left.
    assert found["warm_seconds"] > 0.01 if what == "optuna" else found["warm_seconds"] < 0.01


@pytest.mark.slow
def test_a_plain_script_computes_what_stages_compute(tmp_path: Path, scripts: Path) -> None:
    plain = load(scripts / "plain.py")
    from bdray.pipeline.stages import Context
    from bdray.pipeline.store import Store
    from bdray.study.runner import known_plan
    from bdray.study.spec import load as load_study

    words = ["data.num_train=128", "victim.num_samples=128", "defense.recipe.epochs=1"]
    jobs = known_plan(load_study("smoke/lambda2", words), Store(str(tmp_path / "none"), tmp_path)).jobs
    shared = plain.run(jobs, tmp_path / "shared")
    alone = plain.run(jobs[-1:], tmp_path / "alone", share=False)
    # A victim and two trials; and one of these again, with a base and a victim of its own.
    assert len(shared) == 3
    assert alone == {jobs[-1].key: shared[jobs[-1].key]}
    assert len(list((tmp_path / "alone").glob("*/pretrain-*"))) == 1
    # The engine's own way, through the store, gives the same numbers.
    job = jobs[-1]
    assert job.evaluation is not None
    context = Context(Store(str(tmp_path / "store"), tmp_path / "cache"), tmp_path / "cache")
    assert job.evaluation.result(context)["metrics"] == shared[job.key]


def test_pages_that_processes_share_are_told_from_copies(scripts: Path, tmp_path: Path) -> None:
    memory, path = load(scripts / "memory.py"), tmp_path / "images.npy"
    np.save(path, np.ones(20_000_000, np.uint8))
    code = "import sys, numpy; seen = numpy.load(sys.argv[1], mmap_mode='r'); print(seen.sum(), flush=True); input()"
    command = [sys.executable, "-c", code, str(path)]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        seen = [memory.mapped_pixels(psutil.Process(process.pid)) for process in started]
    finally:
        for process in started:
            process.communicate("\n", timeout=60)
    # Both see all of the file, and half of it counts for each.
    assert all(one["rss"] >= 20_000_000 for one in seen)
    assert all(one["pss"] == pytest.approx(one["rss"] / 2, rel=0.05) for one in seen)


def test_the_study_whose_memory_is_looked_at_is_one(scripts: Path) -> None:
    memory = load(scripts / "memory.py")
    from bdray.study.spec import load as load_study

    loaded = load_study(memory.STUDY[0], [*memory.STUDY[1:], *memory.SHORT])
    # Two trials, for pixels are shared by two.
    assert [axis.values for axis in loaded.study.axes.values()] == [(0, 1)]


def test_the_first_step_is_dated_by_its_checkpoint(scripts: Path, tmp_path: Path) -> None:
    startup = load(scripts / "startup.py")
    from bdray.checkpoint import Checkpointer, Unfinished

    model = torch.nn.Linear(2, 2)
    kept = Checkpointer(tmp_path)
    kept.save(model, torch.optim.AdamW(model.parameters()), [], unfinished=Unfinished(1, {}, {}, seconds=30.0))
    assert startup.epoch_began(kept.path) == pytest.approx(time.time() - 30, abs=2)


@pytest.mark.slow
def test_tracking_is_measured_in_miniature(scripts: Path, tmp_path: Path) -> None:
    tracking = load(scripts / "tracking.py")
    found = tracking.rate(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "spool", steps=2)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        (points,) = database.execute("SELECT COUNT(*) FROM metrics WHERE key LIKE 'metric%'").fetchone()
    # What was timed was written: every metric of every stream at every step.
    assert points == 2 * tracking.STREAMS * tracking.METRICS
    assert found["writes_per_second"] > 0


def test_a_claim_is_met_or_missed(scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = load(scripts / "record.py")
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    claims = [record.Claim("fast", 0.5, "s", at_most=0.5), record.Claim("worth it", 2.4, "×", at_least=2.5)]
    record.write("some", {"rows": []}, claims)
    found = json.loads((tmp_path / "some.json").read_text(encoding="utf-8"))
    assert {"date", "cpus", "rows"} <= found.keys()
    # The target itself is met; what misses it says so.
    assert [(claim["target"], claim["met"]) for claim in found["claims"]] == [("≤ 0.5 s", True), ("≥ 2.5 ×", False)]


def test_the_readme_shows_what_was_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = load(ROOT / "scripts" / "update_readme.py")
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    whole = json.loads((BENCHMARKS / "results" / "default_study.json").read_text(encoding="utf-8"))
    (results / "default_study.json").write_text(json.dumps({**whole, "claims": []}), encoding="utf-8")
    claim = {"name": "worth it", "measured": 2.4, "unit": "×", "target": "≥ 2.5 ×", "met": False}
    (results / "some.json").write_text(json.dumps({"date": "2026-11-30", "claims": [claim]}), encoding="utf-8")
    (results / "other.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    assert readme.speed().splitlines()[-1] == "| worth it | ≥ 2.5 × | 2.4 × | **missed** | 2026-11-30, `some` |"


def test_make_bench_runs_every_benchmark() -> None:
    listed = subprocess.run(["make", "-n", "bench"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    helpers = {"bare_loop.py", "cluster_simulation.py", "measuring.py", "plain.py", "processes.py", "record.py"}
    names = {path.name for path in BENCHMARKS.glob("*.py")}
    # What the others share is no benchmark, nor what needs finished studies; and a new one is run without being listed.
    assert {name for name in names if f"benchmarks/{name}" in listed} == names - helpers
