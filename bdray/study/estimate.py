"""The cost of stages on the device of a study, and what that is known from."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bdray.pipeline.stages import Stage
from bdray.pipeline.store import Store
from bdray.study.cost import (
    FIRST_GUESS,
    LAUNCH_SECONDS,
    Configuration,
    CostModel,
    Run,
    fastest,
    first_guess,
    fit,
    held_out_errors,
    kind_of,
    run_of,
    spread,
    typical_error,
)
from bdray.study.runtime import Launch

STAGES = ("pretrain", "trigger", "victim", "defend", "evaluate")
MAX_RUNS = 500
"""Measured runs that are read, of each of these."""
BYTES_PER_PARAMETER = 4
OF_MODELS = frozenset({"updates", "batches", "images"})
"""Terms that are known only where models or batch sizes differ."""


@dataclass(frozen=True)
class Estimate:
    """Cost by stage."""

    model: CostModel
    sizes: dict[str, float]
    """Bytes in the store by kind, in units of the model's weights."""
    num_workers: int
    basis: str
    """What it is known from, in words."""

    def kind(self, stage: Stage) -> str:
        """What the stage is priced as."""
        experiment = stage.experiment
        reads = {"defense": {"type": experiment.defense.type if experiment.defense else ""}}
        return kind_of(stage.name, {**reads, "trigger": {"type": experiment.attack.trigger.type}})

    def seconds(self, stage: Stage) -> float:
        """On an idle machine."""
        work = stage.work()
        return 0.0 if work is None else self.model.seconds(Configuration(self.kind(stage), work, self.num_workers))

    def size(self, stage: Stage) -> float:
        """Bytes in the store."""
        work = stage.work()
        parameters = (work.parameters or 0) if work else 0
        default = 0.0 if stage.name in ("evaluate", "trigger") else 1.0
        return BYTES_PER_PARAMETER * parameters * self.sizes.get(self.kind(stage), default)


def estimate_for(launch: Launch, store: Store) -> Estimate:
    """Fit the cost model to what the store has of the study's kind of device and precision."""
    is_gpu = launch.gpus_per_worker > 0
    runs = [run for run in measured_runs(store) if (run.device != "cpu") is is_gpu]
    same = [run for run in runs if run.precision == launch.precision] or runs
    devices = Counter(run.device for run in same).most_common(1)
    same = [run for run in same if devices and run.device == devices[0][0]]
    times = fastest(same)
    model = fit(times)
    words = _first_guess(is_gpu) if model is None else _measured(same, times, model, launch)
    if launch.num_workers > 1 and not any(configuration.num_workers > 1 for configuration in times):
        words += (
            f" No run with several workers was measured: their work is divided evenly, {LAUNCH_SECONDS:.0f} s of start "
            "added, and what they send each other is left out."
        )
    return Estimate(model or first_guess("gpu" if is_gpu else "cpu"), _sizes(runs), launch.num_workers, words)


def measured_runs(store: Store) -> list[Run]:
    """Runs that the store has, of any study."""
    found = (run_of(manifest) for stage in STAGES for manifest in store.manifests(stage, MAX_RUNS))
    return [run for run in found if run is not None]


def _sizes(runs: Sequence[Run]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for run in runs:
        if run.configuration.work.parameters:
            weights = BYTES_PER_PARAMETER * run.configuration.work.parameters
            found.setdefault(run.configuration.kind, []).append(run.size / weights)
    return {kind: median(ratios) for kind, ratios in found.items()}


def _first_guess(is_gpu: bool) -> str:
    device, rate = ("GPU", FIRST_GUESS["gpu"]) if is_gpu else ("CPU core", FIRST_GUESS["cpu"])
    return f"A first guess of {rate:,.0f} GFLOP/s per {device}: the store has no run to measure by. It may be far off."


def _measured(runs: Sequence[Run], times: dict[Configuration, float], model: CostModel, launch: Launch) -> str:
    errors = held_out_errors(times)
    device = "CPUs" if runs[0].device == "cpu" else runs[0].device
    text = f"Fitted to {len(runs)} runs of {len(times)} configurations on {device}"
    text += f"; a configuration that is held out is missed by {typical_error(errors):.0%} (median)." if errors else "."
    slower = spread(runs)
    if slower > 1.2:
        text += f" Times are those of an idle machine: these runs typically took {slower:.1f} times as long."
    if not OF_MODELS & model.coefficients.keys():
        text += " They have one model and batch size, so those of others are priced by their operations alone."
    if runs[0].precision != launch.precision:
        text += f" They were computed in {runs[0].precision}, the study's will be in {launch.precision}."
    return text
