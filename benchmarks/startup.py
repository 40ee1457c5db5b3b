"""How long a user waits: for the list of studies, a plan, the first training step, and a study that is in the store.

Usage: python benchmarks/startup.py [--repeats 3]

Every number is the wall time of a command that a user gives, in a process of its own, with byte code and files in the
machine's memory: a first round, which is not counted, sees to that. ``cpu`` is the processor time of the same process.

* **first step**: from the command to the first step of the base, into an empty folder, so that pictures are drawn, Ray
  is started and PyTorch imported. By ``training.checkpoint_minutes`` the state of the training is kept after each of
  its steps: the time is that of the file, less the seconds of the epoch so far, which it holds.
* **libraries**: the part of it that is not ours: a script that imports MLflow and makes its database, starts Ray, and
  imports PyTorch and open_clip in a worker, and no more.
* **rerun**: the default study when all is in the store. Which numbers are there makes no difference to the time, so
  they are made up, as in ``engine_scale.py``; ``default_study.py --full`` measures it after a real one.
"""

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import record
from engine_scale import start_ray

STUDY = "ablations/lambda2"
TARGETS = {"list": 1.0, "dry run": 2.0, "rerun": 20.0, "first step": 15.0}
NAMES = {
    "list": "`--list`",
    "dry run": "`--dry-run` of the default study",
    "rerun": "default study, all of it in the store",
    "first step": "from the command to the first training step",
}
LIBRARIES = """
import mlflow, ray
mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.search_experiments()
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)

@ray.remote
def work():
    import open_clip, torch

ray.get(work.remote())
print("ready", flush=True)
"""
PATIENCE = 300.0
"""Seconds after which a first step will not come."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="of short commands; of the others half, or two")
    parser.add_argument("--fill", type=Path, help=argparse.SUPPRESS)  # put made-up results there
    options = parser.parse_args()
    if options.fill:
        fill(options.fill)
        return
    few = max(2, options.repeats // 2)
    with tempfile.TemporaryDirectory(prefix="bdray-bench-") as name:
        output = ["--output", f"{name}/filled"]
        seconds = {
            "list": repeated(["--list"], options.repeats),
            "dry run": repeated([STUDY, "--dry-run", *output], options.repeats),
        }
        subprocess.run([sys.executable, __file__, "--fill", f"{name}/filled"], check=True)
        seconds["rerun"] = repeated([STUDY, *output], few)
        steps, bare = [], []
        for number in range(few):
            steps.append(first_step(Path(name) / f"empty-{number}"))
            bare.append(libraries(Path(name) / f"bare-{number}"))
        seconds["first step"] = (statistics.median(steps), 0.0)
        seconds["libraries"] = (statistics.median(bare), 0.0)
    found = {}
    for what, (wall, cpu) in seconds.items():
        found[what] = {"seconds": round(wall, 2), **({"cpu_seconds": round(cpu, 2)} if cpu else {})}
        print(f"{what:>10}  {found[what]}" + (f"  target {TARGETS[what]:g} s" if what in TARGETS else ""))
    claims = [
        record.Claim(NAMES[what], found[what]["seconds"], "s", at_most=target) for what, target in TARGETS.items()
    ]
    record.write("startup", {"medians": found}, claims)


def repeated(words: Sequence[str], repeats: int) -> tuple[float, float]:
    """Median wall and processor seconds of a command."""
    walls, cpus = [], []
    for _ in range(1 + repeats):
        started, before = time.perf_counter(), _children()
        subprocess.run([sys.executable, "-m", "bdray.study", *words], stdout=subprocess.DEVNULL, check=True)
        walls.append(time.perf_counter() - started)
        cpus.append(_children() - before)
    return statistics.median(walls[1:]), statistics.median(cpus[1:])


def _children() -> float:
    """Processor seconds of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fill(output: Path) -> None:
    """Run the default study with made-up results."""
    from rich.console import Console

    from bdray.study import runner
    from bdray.study.spec import load

    start_ray()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        loaded = load(STUDY, runtime={"output": str(output)})
        outcome = runner.run(loaded, Console(file=nowhere), lambda plan: None)
    assert outcome.failures == 0


def first_step(output: Path) -> float:
    """Seconds from the command to the first step of the base."""
    words = [STUDY, "training.checkpoint_minutes=1e-4", "--output", str(output)]
    started = time.time()
    process = subprocess.Popen(
        [sys.executable, "-m", "bdray.study", *words],
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore Ctrl-C
    )
    try:
        while time.time() - started < PATIENCE:
            for path in output.glob("store/unfinished/pretrain-*/*/checkpoint.safetensors"):
                return epoch_began(path) - started
            assert process.poll() is None, "the study ended before its first step"
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
    raise TimeoutError(f"no step was made within {PATIENCE:g} s")


def libraries(folder: Path) -> float:
    """Seconds until the libraries of a first step are ready, in an empty folder."""
    folder.mkdir()
    started = time.time()
    command = [sys.executable, "-c", LIBRARIES]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return time.time() - started


def epoch_began(path: Path) -> float:
    """When the epoch began whose state a file holds, in Unix time."""
    from safetensors import safe_open

    with path.open("rb") as held:  # the file is replaced after each step; this one stays as it is
        of_file = f"/proc/self/fd/{held.fileno()}"
        with safe_open(of_file, framework="numpy") as file:
            seconds = json.loads(file.metadata()["unfinished"])["seconds"]
        return os.fstat(held.fileno()).st_mtime - float(seconds)


if __name__ == "__main__":
    main()
