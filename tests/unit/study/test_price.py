"""What a plan costs, from what its store has measured."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bdray.pipeline.stages import Stage
from bdray.pipeline.store import Store
from bdray.study.__main__ import main
from bdray.study.cost import first_guess
from bdray.study.estimate import estimate_for, measured_runs
from bdray.study.plan import Plan
from bdray.study.price import price, show_bytes, show_count, show_time, wall_seconds
from bdray.study.runner import known_plan
from bdray.study.runtime import Launch
from bdray.study.spec import LoadedStudy

Measure = Callable[[Stage, float], None]


@pytest.fixture
def measure(store: Store, tmp_path: Path) -> Measure:
    """Puts a stage into the store that took so many seconds for each GFLOP."""

    def put(stage: Stage, pace: float, **execution: Any) -> None:
        work = stage.work()
        assert work is not None
        assert work.flops is not None
        assert work.parameters is not None
        weights = tmp_path / "model.safetensors"
        weights.write_bytes(bytes(5 * work.parameters))  # a quarter more than the numbers alone
        seconds = pace * work.flops / 1e9
        told = {"device": "cpu", "device_name": "cpu", "world_size": 1, "precision": "fp32"} | execution
        manifest = {"reads": stage.reads(), "seconds": 2 * seconds, "cpu_seconds": seconds, "history": []}
        store.save(stage.name, stage.key, {**manifest, "work": asdict(work), "execution": told, "metrics": {}}, {
            weights.name: weights
        })  # fmt: skip

    return put


def test_a_study_is_priced_by_its_kinds(grid: LoadedStudy, store: Store) -> None:
    plan = known_plan(grid, store)
    found = price(plan, Launch(), 2, store)
    stages = {line.kind: (line.stages, line.missing) for line in found.lines}
    # One base, two victims and four defenses; each of the six attacked models is evaluated, and the base once.
    assert stages == {"pretrain": (1, 1), "victim": (2, 2), "defend cleanclip": (4, 4), "evaluate": (7, 7)}
    batches = {line.kind: line.batches for line in found.lines}
    # Batches of 32: one epoch of 64 pairs, and three of two views where λ₂ is 1, of one where it is 0.
    assert batches == {"pretrain": 2, "victim": 4, "defend cleanclip": 36, "evaluate": 0}
    images = {line.kind: line.images for line in found.lines}
    # Each victim learns from 64 pairs, and 16 images are watched with and without the trigger.
    assert images["victim"] == 2 * (64 + 32)
    # Weights of 0.49 M parameters, seven times, and nothing that is known of evaluations.
    assert sum(line.size for line in found.lines) == 7 * 4 * 489437
    assert found.unit == "CPU"
    assert "first guess" in found.basis
    assert found.hours * 3600 == pytest.approx(sum(_guess(stage) for stage in _all(plan)))
    # Two slots cannot halve it, for the base comes first.
    assert found.hours * 3600 / 2 < found.wall_seconds < found.hours * 3600


def _all(plan: Plan) -> list[Stage]:
    stages = [stage for job in plan.jobs for stage in (job.stage, job.evaluation, job.base_evaluation) if stage]
    return list({stage.key: stage for stage in stages}.values())


def _guess(stage: Stage) -> float:
    work = stage.work()
    assert work is not None
    assert work.flops is not None
    return work.flops / 1e9 * first_guess("cpu").coefficients["operations"]


def test_what_was_measured_is_believed(grid: LoadedStudy, store: Store, measure: Measure) -> None:
    plan = known_plan(grid, store)
    for job in plan.jobs:
        if job.stage.name in ("pretrain", "victim"):
            measure(job.stage, 0.5)
    assert len(measured_runs(store)) == 3
    estimate = estimate_for(Launch(), store)
    defend = next(job.stage for job in plan.jobs if job.stage.name == "defend")
    work = defend.work()
    assert work is not None
    assert work.flops is not None
    # A kind that was never measured costs what its operations do.
    assert estimate.seconds(defend) == pytest.approx(0.5 * work.flops / 1e9)
    assert "Fitted to 3 runs of 2 configurations on CPUs" in estimate.basis
    assert "missed by 0%" in estimate.basis
    assert "one model and batch size" in estimate.basis
    victim = next(job.stage for job in plan.jobs if job.stage.name == "victim")
    assert estimate.size(victim) == pytest.approx(5 * 489437)


def test_runs_of_another_device_do_not_count(grid: LoadedStudy, store: Store, measure: Measure) -> None:
    for job in known_plan(grid, store).jobs:
        if job.stage.name in ("pretrain", "victim"):
            measure(job.stage, 0.5)
    gpu = Launch(gpus_per_worker=1)
    assert "10,000 GFLOP/s per GPU" in estimate_for(gpu, store).basis
    assert price(known_plan(grid, store), gpu, 2, store).unit == "GPU"
    # Of another precision they do, aloud.
    assert "computed in fp32, the study's will be in bf16" in estimate_for(Launch(precision="bf16"), store).basis
    assert "No run with several workers was measured" in estimate_for(Launch(num_workers=2), store).basis


def test_slots_wait_for_inputs() -> None:
    needs = {"base": (), "a": ("base",), "b": ("base",), "c": ("base", "finished")}
    seconds = {"base": 10.0, "a": 4.0, "b": 5.0, "c": 6.0}
    # The base alone, then two at a time; what is in the store already is there.
    assert wall_seconds(needs, seconds, 1) == 25
    assert wall_seconds(needs, seconds, 2) == 20
    assert wall_seconds(needs, seconds, 9) == 16
    assert wall_seconds({}, {}, 2) == 0


def test_dry_run_prints_the_price(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["some/grid", "--dry-run"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "kind stages to compute batches images CPU time storage" in shown
    assert "defend cleanclip 4 4" in shown
    assert "first guess" in shown
    assert main(["some/search", "--dry-run"]) == 0
    # Four points of one seed.
    assert "a trial takes about 0 s after its victim, 4 trials 1 s of CPU time" in " ".join(
        capsys.readouterr().out.split()
    )


def test_units() -> None:
    assert [show_time(seconds) for seconds in (44.6, 600, 7200, 3.6e6)] == ["45 s", "10 min", "2.0 h", "1,000.0 h"]
    assert [show_count(number) for number in (0, 23_200, 4_609_536_000)] == ["0", "23,200", "4,610 M"]
    assert [show_bytes(size) for size in (0, 1500, 6e6, 2.5e12)] == ["0 B", "1.5 KB", "6.0 MB", "2.5 TB"]
