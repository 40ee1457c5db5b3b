"""The cost model, on runs whose costs are known."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bdray.pipeline.work import Work
from bdray.study.cost import (
    LAUNCH_SECONDS,
    Configuration,
    Run,
    fastest,
    first_guess,
    fit,
    held_out_errors,
    kind_of,
    non_negative,
    run_of,
    spread,
    typical_error,
)

WIDTHS = {8: (0.5e6, 5e6), 16: (1.5e6, 13e6), 24: (3.1e6, 26e6)}
"""Parameters, and operations of a pass forward."""


def configuration(
    kind: str = "victim", width: int = 16, images: int = 20000, batch: int = 64, epochs: int = 4, workers: int = 1
) -> Configuration:
    parameters, flops = WIDTHS[width]
    work = Work(
        trained=images,
        watched=800 * epochs,
        epochs=epochs,
        steps=images // batch,
        flops=(3 * images + 800 * epochs) * flops,
        parameters=int(parameters),
    )
    return Configuration(kind, work, workers)


def truth(one: Configuration) -> float:
    """Seconds on a machine of 40 GFLOP/s with 3 ms a batch, 0.5 s an epoch and 2 s a stage."""
    work = one.work
    assert work.flops is not None
    return work.flops / 40e9 / one.num_workers + 0.003 * work.steps + 0.5 * work.epochs + 2


def grid() -> list[Configuration]:
    return [
        configuration("victim", width, images, batch, epochs)
        for width in WIDTHS
        for images in (1000, 5000, 40000)
        for batch in (32, 256)
        for epochs in (2, 8)
    ]


def test_costs_are_recovered_from_runs_that_tell_them() -> None:
    measured = {one: truth(one) for one in grid()}
    model = fit(measured)
    assert model is not None
    assert model.coefficients["operations"] == pytest.approx(1 / 40, rel=0.05)
    # Twice as wide, four times as much, another batch: nothing of it was measured.
    other = configuration("victim", 24, 160000, 128, 3)
    assert model.seconds(other) == pytest.approx(truth(other), rel=0.05)
    assert typical_error(held_out_errors(measured)) < 0.05


def test_the_error_of_what_is_held_out_is_that_of_the_noise() -> None:
    rng = np.random.default_rng(0)
    measured = {one: truth(one) * math.exp(rng.normal(0, 0.2)) for one in grid()}
    # Deviations of 20% have a median of 13%.
    assert typical_error(held_out_errors(measured)) == pytest.approx(0.135, abs=0.06)


def test_least_squares_without_negative_coefficients() -> None:
    from scipy.optimize import nnls

    rng = np.random.default_rng(0)
    signs = set()
    for _ in range(50):
        matrix, target = rng.random((12, 6)), rng.random(12)
        expected, _ = nnls(matrix, target)
        # What SciPy's active sets find, is found by trying all of them.
        assert non_negative(matrix, target) == pytest.approx(expected, abs=1e-9)
        signs.add(tuple(expected > 0))
    assert len(signs) > 10


def test_one_model_tells_operations_only() -> None:
    measured = {one: truth(one) for one in (configuration(images=images) for images in (5000, 20000, 80000))}
    model = fit(measured)
    assert model is not None
    # Images, batches and operations all rise together: what is left is one of them, and the stage's own time.
    assert model.coefficients.keys() <= {"operations", "stages"}
    wide = configuration(width=24, images=80000)
    assert model.seconds(wide) == pytest.approx(2 * truth(configuration(images=80000)), rel=0.1)


def test_each_kind_has_its_factor() -> None:
    plain = {one: truth(one) for one in grid()}
    slow = {replace(one, kind="defend cleanerclip"): 1.5 * seconds for one, seconds in plain.items()}
    model = fit(plain | slow)
    assert model is not None
    ratio = model.factors["defend cleanerclip"] / model.factors["victim"]
    assert ratio == pytest.approx(1.5, rel=0.02)
    # A kind that was never measured is like all others.
    assert "defend abl" not in model.factors


def test_evaluations_are_priced_but_do_not_shape_the_fit() -> None:
    plain = {one: truth(one) for one in grid()}
    watched = Configuration("evaluate", Work(0, 3200, 0, 0, 3200 * 13e6, 1_500_000))
    with_it = fit(plain | {watched: 100.0})
    without = fit(plain)
    assert with_it is not None
    assert without is not None
    assert with_it.coefficients == without.coefficients
    assert with_it.seconds(watched) == pytest.approx(100)
    # With evaluations alone there is nothing to fit to.
    assert fit({watched: 1.0}) is None
    assert held_out_errors({watched: 1.0}) == {}
    assert math.isnan(typical_error({}))


def test_workers_share_the_work_and_pay_a_start() -> None:
    model = first_guess("cpu")
    one, four = (model.seconds(configuration(workers=workers)) for workers in (1, 4))
    assert four == pytest.approx(one / 4 + LAUNCH_SECONDS)


def test_operations_that_cannot_be_counted_have_no_price() -> None:
    work = Work(trained=100, watched=0, epochs=1, steps=2, flops=None, parameters=None)
    assert math.isnan(first_guess("cpu").seconds(Configuration("victim", work)))


def test_gpus_are_guessed_to_be_faster() -> None:
    one = configuration()
    assert first_guess("gpu").seconds(one) < first_guess("cpu").seconds(one) / 50


def run(seconds: float, *, is_sure: bool = True, images: int = 20000) -> Run:
    return Run(configuration(images=images), "cpu", "fp32", seconds, is_sure, 6_000_000)


def test_the_fastest_run_is_what_a_configuration_costs() -> None:
    runs = [run(17.0, is_sure=False), run(83.0, is_sure=False), run(20.0, is_sure=False), run(9.0, images=10000)]
    # One run by the clock of a busy machine may have taken any time.
    alone = run(500.0, is_sure=False, images=50000)
    assert fastest([*runs, alone]) == {configuration(): 17.0, configuration(images=10000): 9.0}
    assert spread([*runs, alone]) == pytest.approx((1 + 20 / 17) / 2)


@pytest.fixture
def manifest() -> Callable[..., dict[str, Any]]:
    work = {"trained": 20000, "watched": 3200, "epochs": 4, "steps": 313, "flops": 8e11, "parameters": 1_500_000}

    def make(**more: Any) -> dict[str, Any]:
        made: dict[str, Any] = {
            "stage": "defend",
            "reads": {"defense": {"type": "cleanclip"}},
            "seconds": 80.0,
            "cpu_seconds": 18.0,
            "history": [{"epoch": 1.0, "train_seconds": 30.0}, {"epoch": 2.0, "train_seconds": 40.0}],
            "work": work,
            "execution": {"device": "cpu", "device_name": "cpu", "world_size": 1, "precision": "fp32"},
            "files": {"model.safetensors": {"bytes": 6_000_412}, "table.csv": {"bytes": 588}},
        }
        return made | more

    return make


def test_a_manifest_is_a_measured_run(manifest: Callable[..., dict[str, Any]]) -> None:
    found = run_of(manifest())
    assert found is not None
    # On a CPU the time that others took does not count.
    assert (found.configuration.kind, found.seconds, found.is_sure) == ("defend cleanclip", 18.0, True)
    assert found.size == 6_001_000
    gpu = run_of(manifest(execution={"device": "cuda", "device_name": "NVIDIA H200", "world_size": 2}))
    assert gpu is not None
    assert (gpu.device, gpu.seconds, gpu.configuration.num_workers) == ("NVIDIA H200", 80.0, 2)


def test_what_is_not_known_of_a_manifest_is_not_used(manifest: Callable[..., dict[str, Any]]) -> None:
    # Made by an older version, or a stage that passes no images.
    assert run_of(manifest(work=None)) is None
    assert run_of({key: value for key, value in manifest().items() if key != "work"}) is None
    # Went on from a checkpoint: its 70 s of training are not within the 20 s of its last sitting.
    assert run_of(manifest(seconds=20.0)) is None


def test_kinds() -> None:
    assert kind_of("victim", {}) == "victim"
    assert kind_of("defend", {"defense": {"type": "ubt"}}) == "defend ubt"
    assert kind_of("trigger", {"trigger": {"type": "ssba"}}) == "trigger ssba"
