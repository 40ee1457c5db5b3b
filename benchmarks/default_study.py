"""The default study from an empty store: wall time, memory, how busy the slots were, and what a rerun costs.

Usage: python benchmarks/default_study.py [STUDY] [--keep DIR]

Runs the command a user runs, twice, in a scratch folder. Utilization and overhead come from the time stamps that every
stage leaves in its manifest: after the base, the time of the training steps over (slots x wall time), and from one
trial to the next the time in which a warm worker computes nothing of either.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", default="ablations/lambda2")
    parser.add_argument("--keep", type=Path, help="folder to run in and keep")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bdray-bench-") as scratch:
        output = options.keep or Path(scratch)
        first, peak = timed(options.study, output)
        rerun, _ = timed(options.study, output)
        found = {
            "study": options.study,
            "date": datetime.now(UTC).date().isoformat(),
            "cpus": len(os.sched_getaffinity(0)),
            "wall_seconds": round(first, 1),
            "rerun_seconds": round(rerun, 1),
            "peak_memory_gb": round(peak / 1e9, 2),
            **slots(output / "store"),
        }
    for name, value in found.items():
        print(f"{name:>34}  {value}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"default_study-{options.study.replace('/', '-')}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def timed(study: str, output: Path) -> tuple[float, float]:
    """Run a study; returns seconds and the peak memory of its process tree in bytes (PSS: shared pages count once)."""
    command = [sys.executable, "-m", "bdray.study", study, "--output", str(output)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = [0.0]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(2.0):
            peak[0] = max(peak[0], memory(process.pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    status = process.wait()
    seconds = time.perf_counter() - started
    stop.set()
    watcher.join()
    if status != 0:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    return seconds, peak[0]


def memory(pid: int) -> float:
    """Proportional set size of a process and all its descendants, in bytes."""
    total = 0.0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def slots(store: Path) -> dict[str, Any]:
    """Utilization and overhead from the manifests of a finished study."""
    manifests = [json.loads(path.read_text()) for path in store.glob("*/*/manifest.json")]
    trained = [found for found in manifests if found["stage"] != "evaluate"]
    base_end = max((end(found) for found in trained if found["stage"] == "pretrain"), default=0.0)
    after = [found for found in trained if found["stage"] != "pretrain"]
    wall = max(map(end, manifests)) - (base_end or min(found["started"] for found in after))
    workers = defaultdict(list)
    for found in sorted(manifests, key=lambda found: found["started"]):
        workers[found["worker"]].append(found)
    idle = [
        later["started"] - end(earlier)
        for stages in workers.values()
        for earlier, later in itertools.pairwise(stages)
        if earlier["stage"] == "evaluate"  # from one trial to the next
    ]
    tests = [found["seconds"] for found in manifests if found["stage"] == "evaluate"]
    busy = sum(epoch["train_seconds"] for found in after for epoch in found["history"])
    return {
        "base_seconds": round(sum(found["seconds"] for found in trained if found["stage"] == "pretrain"), 1),
        "trials": sum(found["stage"] == "defend" for found in trained),
        "workers": len(workers),
        "training_over_slots_times_wall": round(busy / (len(workers) * wall), 3),
        "median_seconds_of_test_evaluation": round(statistics.median(tests), 2),
        "median_seconds_between_trials": round(statistics.median(idle), 2) if idle else None,
        "max_seconds_between_trials": round(max(idle), 2) if idle else None,
    }


def end(manifest: dict[str, Any]) -> float:
    """Unix time at which a stage was finished."""
    return float(manifest["started"] + manifest["seconds"])


if __name__ == "__main__":
    main()
