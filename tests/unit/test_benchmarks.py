"""Benchmarks that need a GPU at least run on what there is."""

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
    # One line for each of the two objectives, with both rates.
    assert [line.split("  ")[2] for line in done.stdout.splitlines()] == ["objective FT", "objective CleanCLIP"]
    assert done.stdout.count("bare_samples_per_second") == 2
