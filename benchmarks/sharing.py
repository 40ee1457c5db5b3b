"""What it is worth that trials share models: the stages of ``cleanclip/paradigms`` with the store and without.

Usage: python benchmarks/sharing.py [--full] [--cut 10]

Four attacks by six paradigms. With sharing, the base is trained once and each victim once; without, each trial is a
script of its own, which trains all that its model is made from. Both sides read the same prepared data.

``--full`` runs the study as it is (three seeds) by ``python -m bdray.study``, everything of the engine included,
against ``benchmarks/plain.py`` without sharing, on two processes each: about two hours. Without ``--full`` there is one
seed and a tenth of all images, with the same epochs and batch sizes, so that all stages are cut alike; and both sides
are run by ``benchmarks/plain.py``, so that Ray's start, which is not cut, does not count ten times.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plain
import record
import yaml
from processes import watched

from bdray import config
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.store import Store
from bdray.study.files import studies_folder
from bdray.study.plan import Job, jobs, trials
from bdray.study.runner import known_plan
from bdray.study.search.base import Proposal
from bdray.study.space import combinations
from bdray.study.spec import base_tree, load

STUDY = "cleanclip/paradigms"
SIZES = (
    *("data.num_train", "data.num_finetune", "data.num_validation", "data.num_test"),
    *("victim.num_samples", "attack.num_poisoned", "evaluation.epoch_images"),
)
SUSPICIOUS = "num_suspicious"
"""Of ABL: samples, too."""
TARGET = 2.5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the study itself")
    parser.add_argument("--cut", type=int, default=10, help="without --full: what part of the data there is")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bdray-bench-") as name:
        found = full(Path(name)) if options.full else reduced(Path(name), options.cut)
    for key, value in found.items():
        print(f"{key:>18}  {value}")
    claim = record.Claim(
        f"`{STUDY}` without sharing over with it, {found['form']}", found["ratio"], "×", at_least=TARGET
    )
    record.write("sharing" if options.full else "sharing-reduced", found, [claim])


def full(folder: Path) -> dict[str, Any]:
    """The whole study by the engine, against scripts that share nothing."""
    with_store = watched([sys.executable, "-m", "bdray.study", STUDY, "--output", str(folder)], lambda pid: None)
    every, targets = planned(folder, STUDY)
    started = time.perf_counter()
    plain.run(targets, folder / "alone", share=False)
    return told(every, targets, with_store, time.perf_counter() - started, "the whole study, by the engine")


def reduced(folder: Path, cut: int) -> dict[str, Any]:
    """One seed and part of the data, plainly on both sides."""
    name = write_reduced(folder / "studies", cut)
    os.chdir(folder)  # where studies are looked for first
    every, targets = planned(folder, name)
    cache = folder / "cache"
    for split in ("train", "finetune", "validation", "test"):
        every[0].stage.experiment.data.load(split, cache)
    seconds = {}
    for share in (True, False):
        side = folder / f"share-{share}"
        side.mkdir()
        (side / "cache").symlink_to(cache)
        started = time.perf_counter()
        plain.run(every if share else targets, side, share=share)
        seconds[share] = time.perf_counter() - started
    return told(every, targets, seconds[True], seconds[False], f"one seed, 1/{cut} of the data")


def write_reduced(studies: Path, cut: int) -> str:
    """The same stages with less data, as a study of its own; returns its name."""
    tree = config.read_yaml(studies_folder() / f"{STUDY}.yaml")
    base = base_tree(studies_folder(), str(tree["base"]), STUDY)
    whole = config.dump(config.build(Experiment, base, STUDY))
    for path in SIZES:
        base = config.set_dotted(base, path, config.get_dotted(whole, path) // cut)
    for variant in tree["axes"]["paradigm"]["variants"].values():
        if variant["defense"] and SUSPICIOUS in variant["defense"]:
            variant["defense"][SUSPICIOUS] //= cut
    tree = {"title": tree["title"], "base": "reduced", "axes": tree["axes"], "seeds": [0]}
    for name, content in {"base/reduced": base, "reduced": tree}.items():
        target = studies / f"{name}.yaml"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return "reduced"


def planned(folder: Path, study: str) -> tuple[Sequence[Job], Sequence[Job]]:
    """All jobs of a study, none of which is in a store; and those that trials end with."""
    loaded = load(study)
    every = known_plan(loaded, Store(str(folder / "none"), folder / "none")).jobs
    points = (Proposal(number, point) for number, point in enumerate(combinations(loaded.study.axes)))
    ends = {jobs(trial)[-1].key for proposal in points for trial in trials(loaded, proposal)}
    return every, [job for job in every if job.key in ends]


def told(every: Sequence[Job], targets: Sequence[Job], shared: float, alone: float, form: str) -> dict[str, Any]:
    """The two times, and the models that they were spent on."""
    once = Counter(job.stage.name for job in every)
    again = Counter(stage.name for job in targets for stage in (*job.stage.upstream(), job.stage))
    return {
        "form": form,
        "trials": len(targets),
        "models_shared": dict(once),
        "models_alone": {name: again[name] for name in once},
        "shared_seconds": round(shared, 1),
        "alone_seconds": round(alone, 1),
        "ratio": round(alone / shared, 2),
    }


if __name__ == "__main__":
    main()
