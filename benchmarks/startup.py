"""How long a user waits: for the list of studies, a plan, the first training step, and a study that is in the store.

Usage: python benchmarks/startup.py [--repeats 5]

Every number is the wall time of a command that a user gives, in a process of its own, with byte code and files in the
machine's memory: a first round, which is not counted, sees to that. ``cpu`` is the processor time of the same process.

* **first step**: from the command to the first step of the base, into an empty folder, so that pictures are drawn, Ray
  is started and PyTorch imported. Nothing is changed in what runs: the time is that at which the state after the first
  epoch is on the disk, less the seconds of that epoch, which it holds (epochs are not judged here).
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
PATIENCE = 300.0
"""Seconds after which a first epoch will not come."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="of the short commands; the others run half as often")
    parser.add_argument("--fill", type=Path, help=argparse.SUPPRESS)  # put made-up results there
    options = parser.parse_args()
    if options.fill:
        fill(options.fill)
        return
    few = -(-options.repeats // 2)
    with tempfile.TemporaryDirectory(prefix="bdray-bench-") as name:
        output = ["--output", f"{name}/filled"]
        seconds = {
            "list": repeated(["--list"], options.repeats),
            "dry run": repeated([STUDY, "--dry-run", *output], options.repeats),
        }
        subprocess.run([sys.executable, __file__, "--fill", f"{name}/filled"], check=True)
        seconds["rerun"] = repeated([STUDY, *output], few)
        steps = [first_step(Path(name) / f"empty-{number}") for number in range(few)]
        seconds["first step"] = (statistics.median(steps), 0.0)
    found = {}
    for what, (wall, cpu) in seconds.items():
        found[what] = {"seconds": round(wall, 2), **({"cpu_seconds": round(cpu, 2)} if cpu else {})}
        print(f"{what:>10}  {found[what]}  target {TARGETS[what]:g} s")
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
    words = [STUDY, "evaluation.epoch_images=0", "--output", str(output)]
    started = time.time()
    process = subprocess.Popen([sys.executable, "-m", "bdray.study", *words], stdout=subprocess.DEVNULL)
    try:
        while time.time() - started < PATIENCE:
            for path in output.glob("store/unfinished/pretrain-*/*/checkpoint.safetensors"):
                return path.stat().st_mtime - epoch_seconds(path) - started
            assert process.poll() is None, "the study ended before its first epoch"
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
    raise TimeoutError(f"no epoch ended within {PATIENCE:g} s")


def epoch_seconds(path: Path) -> float:
    """What the first epoch took, as its checkpoint says."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        history = json.loads(file.metadata()["history"])
    return float(history[0]["train_seconds"])


if __name__ == "__main__":
    main()
