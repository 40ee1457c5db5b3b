"""What a study of 400M pairs and 500 trials would cost, and where it breaks first: infra/SCALE.md's tables.

Usage: python benchmarks/scale_on_paper.py [--write]     --write puts the tables into the page

Jobs, their operations and their order are those of real plans, made by the engine from the two studies below. Rates are
measured where this project could measure them, and assumed elsewhere; each says which. Makespans are simulated
(cluster_simulation.py). Nothing here was run at that scale.
"""

import argparse
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster_simulation import ENGINE_SECONDS, Piece, Pool, Simulation

from bdray.pipeline.store import Store
from bdray.study.plan import Job, Plan
from bdray.study.runner import known_plan
from bdray.study.spec import load

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "infra" / "SCALE.md"
PAIRS = 400_000_000
BASE = f"""
base: paper/cc3m_rn50
data: {{train: {{num_samples: {PAIRS}}}, finetune: {{skip: 410000000}}}}
victim: {{recipe: {{epochs: 1, batch_size: 1024}}}}
"""
STUDIES = {
    "500 defenses of 5 victims": """
title: Defenses of a model of 400M pairs
base: huge
axes: {defense.in_modal_weight: {label: λ₂, values: VALUES}}
seeds: [0, 1, 2, 3, 4]
""",
    "500 victims": """
title: Poisoned trainings on 400M pairs
base: huge
experiment: {defense: null}
axes: {attack.num_poisoned: {label: poisons, values: VALUES}}
seeds: [0, 1, 2, 3, 4]
""",
}
VALUES = 100


@dataclass(frozen=True)
class Rate:
    """One number and where it is from."""

    value: float
    unit: str
    source: str


RATES = {
    "GPU": Rate(200_000, "GFLOP/s", "assumed: a fifth of an H100's or H200's peak in bf16; none was measured"),
    "GPU price": Rate(2.5, "$ an hour", "assumed"),
    "engine": Rate(ENGINE_SECONDS, "s a job", "measured: `engine_scale.py` on 2026-11-21, 300 trials on two slots"),
    "driver": Rate(
        0.107,
        "CPU-s a job",
        "measured: the same; more than half of it is MLflow's; 0.209 on a slower day (2026-12-01)",
    ),
    "preparation": Rate(
        443,
        "images/s",
        "measured: `input_pipeline.py`, one CPU thread, images streamed; 209 on a slower day (2026-12-01)",
    ),
    "decoding": Rate(
        317,
        "images/s",
        "measured: the same, 3.15 ms for each sample of a batch; 7.25 ms on a slower day (2026-12-01)",
    ),
    "CPUs": Rate(16, "a node", "assumed"),
    "JPEG": Rate(25, "KB a pair", "assumed: img2dataset at 256 px"),
    "manifests": Rate(
        20, "KB a job", "measured: 9 KB for a defense, 3 KB each for its evaluations, with what MLflow keeps"
    ),
    "egress": Rate(
        0.02, "$ a GB", "assumed: between two regions of a cloud; to the internet it is several times as much"
    ),
    "node life": Rate(12, "h", "assumed: of a spot machine, on average"),
}
STATE = 3
"""A checkpoint in units of the weights: weights and two moments of AdamW, all in float32."""
CHECKPOINT_MINUTES = 15.0
POOLS = (8, 64, 512)


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    made = tables()
    if not options.write:
        print(made)
        return
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(replaced(text, made), encoding="utf-8")


def replaced(page: str, made: str) -> str:
    """The page with these tables."""
    first, last = "<!-- begin:tables -->\n", "<!-- end:tables -->"
    before, _, rest = page.partition(first)
    _, _, after = rest.partition(last)
    return before + first + made + last + after


def tables() -> str:
    """All tables, in Markdown."""
    plans = {name: plan_of(text) for name, text in STUDIES.items()}
    parts = [_rates(), _cost(plans), _makespans(plans), _limits(plans)]
    return "\n".join(parts)


@contextmanager
def workplace() -> Iterator[Path]:
    """A working folder with the studies in it."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="bdray-scale-") as name:
        studies = Path(name) / "studies"
        shutil.copytree(ROOT / "studies" / "base", studies / "base")
        (studies / "base" / "huge.yaml").write_text(BASE, encoding="utf-8")
        os.chdir(name)
        try:
            yield studies
        finally:
            os.chdir(before)


def plan_of(text: str) -> Plan:
    """The engine's plan of a study."""
    with workplace() as studies:
        values = [round(0.1 * (number + 1), 1) for number in range(VALUES)]
        whole = [100 * (number + 1) for number in range(VALUES)]
        shown = str(whole if "num_poisoned" in text else values)
        (studies / "study.yaml").write_text(text.replace("VALUES", shown), encoding="utf-8")
        return known_plan(load("study"), Store("store", Path("cache")))


def operations(job: Job) -> float:
    """GFLOP of a job: its model and the evaluation of it."""
    parts = [stage.work() for stage in (job.stage, job.evaluation) if stage is not None]
    return math.fsum(part.flops or 0 for part in parts if part is not None) / 1e9


def weights(job: Job) -> float:
    """GB of its model."""
    work = job.stage.work()
    return 4e-9 * (work.parameters or 0) if work is not None else 0.0


def pieces(plan: Plan, gpus: int) -> list[Piece]:
    """The plan's jobs with the seconds that they take on so many GPUs each."""
    rate = RATES["GPU"].value * gpus
    return [Piece(job.key, job.needs, job.images, operations(job) / rate) for job in plan.jobs]


def _rates() -> str:
    lines = ["| rate | | from |", "| --- | --- | --- |"]
    return "\n".join(
        [*lines, *(f"| {name} | {rate.value:,.6g} {rate.unit} | {rate.source} |" for name, rate in RATES.items()), ""]
    )


def _cost(plans: dict[str, Plan]) -> str:
    lines = ["| | " + " | ".join(plans) + " |", "| --- |" + " --- |" * len(plans)]
    rows: dict[str, list[str]] = {}
    for plan in plans.values():
        work = math.fsum(map(operations, plan.jobs))
        hours = work / RATES["GPU"].value / 3600
        trained = sum(job.images for job in plan.jobs)
        read = 1e-6 * trained * RATES["JPEG"].value
        kept = math.fsum(map(weights, plan.jobs))
        for name, shown in {
            "jobs": f"{len(plan.jobs)}",
            "pairs passed": f"{trained / 1e9:,.1f} billion",
            "GPU-hours": f"{hours:,.0f}",
            "GPUs": f"${hours * RATES['GPU price'].value:,.0f}",
            "read from the bucket": f"{read / 1e3:,.1f} TB",
            "the same from another region": f"${read * RATES['egress'].value:,.0f}",
            "weights kept": f"{kept:,.0f} GB",
            "checkpoints written": f"{_checkpoints(plan):,.1f} TB",
            "manifests": f"{len(plan.jobs) * RATES['manifests'].value / 1e3:,.0f} MB",
        }.items():
            rows.setdefault(name, []).append(shown)
    return "\n".join([*lines, *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()), ""])


def _checkpoints(plan: Plan) -> float:
    """TB, on one GPU for each job."""
    minutes = ((job, operations(job) / RATES["GPU"].value / 60) for job in plan.jobs)
    return 1e-3 * math.fsum(STATE * weights(job) * (taken // CHECKPOINT_MINUTES) for job, taken in minutes)


def _makespans(plans: dict[str, Plan]) -> str:
    life = RATES["node life"].value
    kinds: dict[str, dict[str, float]] = {
        "on demand": {},
        "spot": {"life_hours": life, "checkpoint_minutes": CHECKPOINT_MINUTES},
        "spot, 20 retries": {"life_hours": life, "checkpoint_minutes": CHECKPOINT_MINUTES, "max_retries": 20},
        "spot, 20 retries, no shared checkpoints": {"life_hours": life, "max_retries": 20},
    }
    lines = ["| study | nodes of 1 GPU | " + " | ".join(kinds) + " |", "| --- | ---: |" + " --- |" * len(kinds)]
    for name, plan in plans.items():
        for nodes in POOLS:
            cells = [_makespan(pieces(plan, 1), nodes, settings) for settings in kinds.values()]
            lines.append(f"| {name} | {nodes} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _makespan(jobs: Sequence[Piece], nodes: int, settings: dict[str, float]) -> str:
    pool = Pool(nodes=nodes, **settings)  # type: ignore[arg-type]
    outcome = Simulation(jobs, pool, seed=0).run()
    words = f"{outcome.seconds / 86400:,.1f} days"
    if outcome.again:
        words += f", {outcome.again / outcome.busy:.0%} computed again"
    return words + (f", **{outcome.failed} of {len(jobs)} jobs fail**" if outcome.failed else "")


def _limits(plans: dict[str, Plan]) -> str:
    plan = plans["500 victims"]
    images = sum(job.images for job in plan.jobs) / math.fsum(map(operations, plan.jobs)) * RATES["GPU"].value
    read = images * RATES["JPEG"].value * 1e3 * 8 / 1e9
    decoders = images / RATES["decoding"].value
    hours = PAIRS / RATES["preparation"].value / RATES["CPUs"].value / 3600
    defense = next(job for job in plans["500 defenses of 5 victims"].jobs if job.stage.name == "defend")
    short = operations(defense) / RATES["GPU"].value
    rows = [
        ("preparing 400M pairs", "each node, all its CPUs, before the first step", f"**{hours:,.0f} h** on every node"),
        ("data of one GPU", f"{images:,.0f} pairs/s", f"{read:,.2f} Gbit/s; {decoders:.0f} CPUs to decode"),
        ("data of 512 GPUs", "one bucket", f"**{512 * read / 8:,.0f} GB/s**"),
        (
            "checkpoints of 512 GPUs",
            f"every {CHECKPOINT_MINUTES:.0f} minutes",
            f"{512 * STATE * weights(plan.jobs[0]) / CHECKPOINT_MINUTES / 60:,.1f} GB/s",
        ),
        (
            "scheduler",
            f"{RATES['engine'].value} s a job",
            f"{short / RATES['engine'].value:,.0f} slots are kept busy by jobs of {short / 60:,.0f} minutes",
        ),
        (
            "MLflow",
            f"one writer, {RATES['driver'].value} CPU-s a job",
            f"{short / RATES['driver'].value:,.0f} slots with the same jobs",
        ),
    ]
    lines = ["| what | how | comes to |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows), ""])


if __name__ == "__main__":
    main()
