"""Benchmarks that need a GPU at least run on what there is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_on_a_gpu_runs_in_miniature_on_a_cpu(precision: str) -> None:
    command = [sys.executable, str(BENCHMARKS / "gpu_training.py"), "--device", "cpu", "--tiny"]
    done = subprocess.run([*command, "--precision", precision], capture_output=True, text=True, check=True)
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
