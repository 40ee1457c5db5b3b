"""The default study from an empty store, against a plain script that computes the same on two processes.

Usage: python benchmarks/default_study.py [--full] [--keep DIR]

Runs the command a user runs, twice, in a scratch folder, and between them ``benchmarks/plain.py``: the same stages by
the same code without Ray, Tune, MLflow, store, checkpoints and report. The results of both must be the same. ``--full``
is the whole study (quarter of an hour); without it, data and epochs are cut, so that what comes once for a study, such
as the start of Ray, weighs more than in the whole.

Utilization and overhead come from the time stamps that every stage leaves in its manifest: after the base, the time of
the training steps over (slots x wall time), and from one trial to the next the time in which a warm worker computes
nothing of either.
"""

import argparse
import csv
import itertools
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import record
from processes import proportional_memory, watched

STUDY = "ablations/lambda2"
SHORT = (
    "seeds=[0]",
    *("data.num_train=2500", "data.num_finetune=1000"),
    "victim.num_samples=1250",
    "attack.num_poisoned=25",
    *("pretrain.recipe.epochs=2", "victim.recipe.epochs=2", "defense.recipe.epochs=2"),
)
"""What makes it short: the same kinds of work, and much less of it."""
MOST = 1.15
"""Times the plain script's time that the whole study may take."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the whole study")
    parser.add_argument("--keep", type=Path, help="folder to run in and keep")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)  # run the plain script in this process
    options = parser.parse_args()
    words = () if options.full else SHORT
    if options.plain:
        plain_script(words, options.plain)
        return
    with tempfile.TemporaryDirectory(prefix="bdray-bench-") as scratch:
        folder = options.keep or Path(scratch)
        found, claims = measure(words, folder, whole=options.full)
    for name, value in found.items():
        print(f"{name:>34}  {value}")
    record.write("default_study" if options.full else "default_study-short", found, claims)


def measure(words: Sequence[str], folder: Path, *, whole: bool) -> tuple[dict[str, Any], list[record.Claim]]:
    """Run the study, the plain script and the study again."""
    output, peak = folder / "engine", [0.0]
    command = [sys.executable, "-m", "bdray.study", STUDY, *words, "--output", str(output)]
    first = watched(command, lambda pid: peak.append(proportional_memory(pid)))
    script = [sys.executable, __file__, "--plain", str(folder / "plain"), *(["--full"] if whole else [])]
    plain = watched(script, lambda pid: None)
    rerun = watched(command, lambda pid: None)
    check_same(output, folder / "plain")
    found = {
        "study": " ".join([STUDY, *words]),
        "wall_seconds": round(first, 1),
        "plain_seconds": round(plain, 1),
        "ratio": round(first / plain, 3),
        "rerun_seconds": round(rerun, 1),
        "peak_memory_gb": round(max(peak) / 1e9, 2),
        **slots(output / "store"),
    }
    claims = [
        record.Claim("default study, times a plain script on two processes", found["ratio"], "×", at_most=MOST),
        record.Claim("default study again, all from the store", found["rerun_seconds"], "s", at_most=20),
    ]
    return found, claims if whole else []


def plain_script(words: Sequence[str], folder: Path) -> None:
    """Compute the study plainly, and leave its numbers."""
    import plain

    from bdray.pipeline.store import Store
    from bdray.study.runner import known_plan
    from bdray.study.spec import load

    folder.mkdir()
    planned = known_plan(load(STUDY, words), Store(str(folder / "none"), folder / "none"))
    metrics = plain.run(planned.jobs, folder)
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


def check_same(output: Path, folder: Path) -> None:
    """Refuse to compare what did not compute the same."""
    plainly = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    (path,) = (output / "studies").rglob("results.csv")
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["key"] for row in rows} == plainly.keys(), "both have the same victims and trials"
    for row in rows:
        for rate in ("attack_success_rate_top1", "clean_accuracy_top1"):
            assert float(row[rate]) == plainly[row["key"]][rate], f"{rate} of {row['key']} differs"


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
