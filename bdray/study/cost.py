"""What a stage costs: seconds as a function of its work, fitted to measured runs.

``seconds = a GFLOP + b + c parameters · steps + d steps + e epochs + f images``, what workers share divided by their
number, with coefficients that are not negative and of least *relative* error. Of all terms only
those are kept that the measured runs tell apart, in this order: where they have one model and one batch size, all time
is taken for operations. Each kind of stage (``defend cleanclip``) then has a factor of its own.

A busy machine only ever makes runs slower, so a configuration costs what its fastest run took: CPU time on CPUs, where
it was recorded, else time on the clock, which needs two runs to be believed.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from bdray.pipeline.store import Manifest
from bdray.pipeline.work import Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TERMS = ("operations", "stages", "updates", "batches", "epochs", "images")
"""In the order in which they are kept."""
NEW = 0.05
"""Share of a term that others must leave unexplained for it to be told apart from them."""
FIRST_GUESS = {"cpu": 45.0, "gpu": 10_000.0}
"""GFLOP a second where nothing was measured: one CPU core of 2.5 GHz on the scenes model; a GPU as of 2021."""
LAUNCH_SECONDS = 24.0
"""Of a start of Ray Train with several workers (20 to 28 were measured)."""
FITTED = ("pretrain", "victim", "defend")
"""Stages that the terms are fitted to; others have only their factors."""


@dataclass(frozen=True)
class Configuration:
    """What runs have in common that should cost the same."""

    kind: str
    """Stage and, if it has one, its component: ``defend cleanclip``."""
    work: Work
    num_workers: int = 1


@dataclass(frozen=True)
class Run:
    """One measured stage."""

    configuration: Configuration
    device: str
    """``cpu``, or what the GPU calls itself."""
    precision: str
    seconds: float
    is_sure: bool
    """Whether other work on the machine cannot have lengthened it much."""
    size: int
    """Bytes of its files in the store."""


def kind_of(stage: str, reads: Mapping[str, Any]) -> str:
    """``defend cleanclip``, ``trigger badclip``, ``victim``."""
    part = {"defend": "defense", "trigger": "trigger"}.get(stage)
    return f"{stage} {reads[part]['type']}" if part else stage


def run_of(manifest: Manifest) -> Run | None:
    """A measured run; None if the manifest does not tell what it had to compute, as of older versions, or took."""
    if not manifest.get("work"):
        return None
    work, clock = Work(**manifest["work"]), float(manifest["seconds"])
    trained = math.fsum(epoch.get("train_seconds", 0.0) for epoch in manifest.get("history", ()))
    if trained > clock:  # it went on from a checkpoint, and only its last sitting was timed
        return None
    execution = manifest.get("execution", {})
    device = execution.get("device_name", "cpu")
    is_sure = device != "cpu" or "cpu_seconds" in manifest
    seconds = float(manifest.get("cpu_seconds", clock)) if device == "cpu" else clock
    size = sum(file["bytes"] for file in manifest["files"].values())
    kind, workers = kind_of(manifest["stage"], manifest["reads"]), execution.get("world_size", 1)
    return Run(Configuration(kind, work, workers), device, execution.get("precision", "fp32"), seconds, is_sure, size)


def fastest(runs: Iterable[Run]) -> dict[Configuration, float]:
    """Seconds of each configuration; a single run that may have been disturbed says nothing."""
    found: dict[Configuration, list[Run]] = {}
    for run in runs:
        found.setdefault(run.configuration, []).append(run)
    return {
        configuration: min(run.seconds for run in same)
        for configuration, same in found.items()
        if len(same) > 1 or same[0].is_sure
    }


@dataclass(frozen=True)
class CostModel:
    """Seconds by configuration, on one kind of device."""

    coefficients: Mapping[str, float]
    """Seconds by term; those that are not here could not be told apart from the others."""
    factors: Mapping[str, float]
    """By kind of stage: what it takes in units of the terms."""
    configurations: int = 0
    """That it was fitted to; 0 for a first guess."""

    def seconds(self, configuration: Configuration) -> float:
        """Expected time of a stage on an idle machine; NaN if the model's operations cannot be counted."""
        terms = _terms(configuration)
        if terms is None:
            return math.nan
        base = math.fsum(self.coefficients.get(name, 0.0) * term for name, term in zip(TERMS, terms, strict=True))
        launch = LAUNCH_SECONDS if configuration.num_workers > 1 else 0.0
        return base * self.factors.get(configuration.kind, 1.0) + launch


def first_guess(device: str) -> CostModel:
    """For a device on which nothing was measured."""
    return CostModel({"operations": 1 / FIRST_GUESS["cpu" if device == "cpu" else "gpu"]}, {})


def fit(measured: Mapping[Configuration, float]) -> CostModel | None:
    """Fit to the seconds of configurations; None if none of them trains a model."""
    import numpy as np

    rows = [
        (t, s) for c, s in measured.items() if c.kind.split()[0] in FITTED and (t := _terms(c)) is not None and s > 0
    ]
    if not rows:
        return None
    relative = np.array([terms for terms, _ in rows]) / np.array([[seconds] for _, seconds in rows])
    kept = _told_apart(relative)
    scale = relative[:, kept].max(axis=0)
    found = non_negative(relative[:, kept] / scale, np.ones(len(rows)))
    names = [TERMS[column] for column in kept]
    plain = CostModel(dict(zip(names, map(float, found / scale), strict=True)), {}, len(measured))
    taken: dict[str, list[tuple[float, float]]] = {}
    for configuration, seconds in measured.items():
        expected = plain.seconds(configuration)
        if expected > 0:
            taken.setdefault(configuration.kind, []).append((seconds, expected))
    # Of sums, so that long runs count most: it is they that are worth a price.
    factors = {kind: sum(s for s, _ in pairs) / sum(e for _, e in pairs) for kind, pairs in taken.items()}
    return CostModel(plain.coefficients, factors, len(measured))


def held_out_errors(measured: Mapping[Configuration, float]) -> dict[Configuration, float]:
    """Relative error of each configuration's time, from a fit to all other configurations; none where none is left."""
    errors = {}
    for configuration, seconds in measured.items():
        model = fit({other: found for other, found in measured.items() if other != configuration})
        expected = model.seconds(configuration) if model else math.nan
        if not math.isnan(expected):
            errors[configuration] = expected / seconds - 1
    return errors


def typical_error(errors: Mapping[Configuration, float]) -> float:
    """Median of the absolute errors; NaN if there are none."""
    return median(map(abs, errors.values())) if errors else math.nan


def _terms(configuration: Configuration) -> tuple[float, ...] | None:
    """One number for each of :data:`TERMS`, per worker; None if the model's operations cannot be counted."""
    work, workers = configuration.work, configuration.num_workers
    if work.flops is None or work.parameters is None:
        return None
    updates = work.parameters * work.steps
    return work.flops / 1e9 / workers, 1.0, updates, work.steps, work.epochs, work.trained / workers


def _told_apart(relative: Any) -> list[int]:
    """Columns that are no mixture of those before them, as far as these rows tell."""
    import numpy as np

    kept: list[int] = []
    for column in range(relative.shape[1]):
        own = relative[:, column]
        size = float(np.linalg.norm(own))
        if size == 0 or len(kept) >= len(relative):
            continue
        rest = own
        if kept:
            others = relative[:, kept]
            rest = own - others @ np.linalg.lstsq(others, own, rcond=None)[0]
        if float(np.linalg.norm(rest)) > NEW * size:
            kept.append(column)
    return kept


def non_negative(matrix: "NDArray[np.float64]", target: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Least squares with coefficients that are not negative, for a few columns that are no mixtures of each other.

    One of the subsets of columns has the solution as its plain least squares, and there are 64 for six. ``scipy`` does
    it too, but takes longer to import than all else that a study needs before it starts.

    Args:
        matrix: ``(rows, columns)``.
        target: ``(rows,)``.

    Returns:
        Coefficients ``(columns,)``.
    """
    import numpy as np

    count = matrix.shape[1]
    inner, outer = matrix.T @ matrix, matrix.T @ target
    best, least = np.zeros(count), 0.0
    for size in range(1, count + 1):
        for columns in itertools.combinations(range(count), size):
            chosen = list(columns)
            found = np.linalg.solve(inner[np.ix_(chosen, chosen)], outer[chosen])
            error = -float(outer[chosen] @ found)  # of the squares, against that of zeros
            if error < least and (found >= 0).all():
                best, least = np.zeros(count), error
                best[chosen] = found
    return best


def spread(runs: Sequence[Run]) -> float:
    """How long the typical run took, in times of its configuration's fastest."""
    quickest = fastest(runs)
    ratios = [run.seconds / quickest[run.configuration] for run in runs if run.configuration in quickest]
    return median(ratios) if ratios else math.nan
