"""What a study will cost: time, device-hours and storage, and what that is known from."""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from bdray.pipeline.stages import Stage
from bdray.pipeline.store import Store
from bdray.study.estimate import Estimate, estimate_for
from bdray.study.plan import Plan
from bdray.study.runtime import Launch

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Line:
    """All stages of one kind."""

    kind: str
    stages: int
    missing: int
    """To be computed; the rest is about these."""
    batches: int
    """That a model learns from; a step with two views of its samples has two."""
    images: int
    """That pass a model on the way."""
    hours: float
    """Device-hours."""
    size: float
    """Bytes in the store."""


@dataclass(frozen=True)
class Price:
    """Of a plan, as far as it is not in the store yet."""

    lines: tuple[Line, ...]
    unit: str
    """``CPU`` or ``GPU``."""
    wall_seconds: float
    """On an idle machine; NaN where the slots are not known."""
    trial_seconds: float
    """Mean of the last stages, which belong to one trial each; NaN without any."""
    basis: str
    """What it is known from, and how well, in words."""

    @property
    def hours(self) -> float:
        """Device-hours."""
        return math.fsum(line.hours for line in self.lines)

    def to_rich(self) -> "Table":
        """For the terminal."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for name in ("kind", "stages", "to compute", "batches", "images", f"{self.unit} time", "storage"):
            table.add_column(name, justify="left" if name == "kind" else "right")
        lines = self.lines
        total = Line(
            "all",
            sum(line.stages for line in lines),
            sum(line.missing for line in lines),
            sum(line.batches for line in lines),
            sum(line.images for line in lines),
            self.hours,
            math.fsum(line.size for line in lines),
        )
        for line in (*lines, total):
            time = show_time(3600 * line.hours)
            counts = str(line.stages), str(line.missing), show_count(line.batches), show_count(line.images)
            cells = *counts, time, show_bytes(line.size)
            table.add_row(line.kind, *cells, style="bold" if line is total else None)
        return table


def price(plan: Plan, launch: Launch, slots: int | None, store: Store) -> Price:
    """Price what a plan has to compute.

    Args:
        plan: Distinct jobs, inputs first.
        launch: How they are launched.
        slots: Jobs that run at once; None if that is not known.
        store: Where measured runs are.
    """
    estimate = estimate_for(launch, store)
    missing = {job.key for job in plan.missing}
    parts = _parts(plan)
    lines: dict[str, list[tuple[Stage, bool]]] = {}
    for job in plan.jobs:
        for stage in parts[job.key]:
            lines.setdefault(estimate.kind(stage), []).append((stage, job.key in missing))
    seconds = {key: math.fsum(estimate.seconds(stage) for stage in parts[key]) for key in missing}
    last = missing - {need for job in plan.jobs for need in job.needs}
    rate = launch.num_workers * (launch.gpus_per_worker or launch.cpus_per_worker) / 3600
    return Price(
        lines=tuple(_line(kind, stages, estimate, rate) for kind, stages in lines.items()),
        unit="GPU" if launch.gpus_per_worker else "CPU",
        wall_seconds=wall_seconds({job.key: job.needs for job in plan.missing}, seconds, slots) if slots else math.nan,
        trial_seconds=math.fsum(seconds[key] for key in last) / len(last) if last else math.nan,
        basis=estimate.basis,
    )


def wall_seconds(needs: Mapping[str, Sequence[str]], seconds: Mapping[str, float], slots: int) -> float:
    """When the last job ends, if every free slot takes the first job whose inputs are there.

    Args:
        needs: Jobs in the order in which they are taken, with what each needs; other things are there already.
        seconds: Of each job.
        slots: Jobs that run at once.
    """
    waiting, running, now = list(needs), list[tuple[float, str]](), 0.0
    left = set(needs)
    while waiting or running:
        ready = (key for key in waiting if not left.intersection(needs[key]))
        for key in list(islice(ready, slots - len(running))):
            waiting.remove(key)
            heapq.heappush(running, (now + seconds[key], key))
        if not running:
            break
        now, ended = heapq.heappop(running)
        left.remove(ended)
    return now


def _parts(plan: Plan) -> dict[str, list[Stage]]:
    """The stages that each job computes; one that several jobs share belongs to the first."""
    seen: set[str] = set()
    parts: dict[str, list[Stage]] = {}
    for job in plan.jobs:
        stages = [stage for stage in (job.stage, job.base_evaluation, job.evaluation) if stage is not None]
        parts[job.key] = [stage for stage in stages if stage.key not in seen]
        seen.update(stage.key for stage in stages)
    return parts


def _line(kind: str, stages: Sequence[tuple[Stage, bool]], estimate: Estimate, rate: float) -> Line:
    missing = [stage for stage, is_missing in stages if is_missing]
    work = [found for stage in missing if (found := stage.work()) is not None]
    return Line(
        kind=kind,
        stages=len(stages),
        missing=len(missing),
        batches=sum(found.steps for found in work),
        images=sum(found.trained + found.watched for found in work),
        hours=rate * math.fsum(map(estimate.seconds, missing)),
        size=math.fsum(map(estimate.size, missing)),
    )


def show_count(number: int) -> str:
    """``23,200``, ``4,610 M``."""
    return f"{number:,}" if number < 1e7 else f"{number / 1e6:,.0f} M"


def show_time(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def show_bytes(size: float) -> str:
    """``6.0 MB``."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size:.0f} B"
