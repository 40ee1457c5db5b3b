"""A study as a careful person would script it: two processes, every model trained once, and nothing else.

It computes the stages of the study's own plan by the same code, so that results must be the same. There is no Ray, no
Tune, no MLflow, no store with hashes and manifests, no checkpoint, no table on the screen and no report: what a study
engine adds is the difference to this.

Without sharing each trial is a script of its own, which trains all that it needs from the beginning.
"""

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import cast

from bdray.pipeline.stages import Context, Stage
from bdray.pipeline.store import Store
from bdray.study.plan import Job

PROCESSES = 2
NICENESS = 15
"""That of Ray's workers, so that whatever else a machine does slows both alike."""
Metrics = dict[str, float]


class Files:
    """A folder for each stage, in the place of a store."""

    copies: None = None
    """Of unfinished trainings, for other machines: there are none."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, stage: Stage) -> Path:
        """Where a stage's files are."""
        return self.root / f"{stage.name}-{stage.key}"

    def fetch(self, stage: str, key: str, name: str) -> Path:
        """A file of a finished stage."""
        return self.root / f"{stage}-{key}" / name

    def find(self, stage: str, key: str) -> None:
        """There are no manifests."""

    def workspace(self, stage: str, key: str) -> None:
        """There are no checkpoints."""


def run(jobs: Sequence[Job], folder: Path, *, share: bool = True) -> dict[str, Metrics]:
    """Compute the models of jobs and evaluate them.

    Args:
        jobs: Distinct ones; with sharing, also all that they need.
        folder: Empty; for weights, and for prepared data, which all share in any case.
        share: Whether jobs use each other's models. Else each makes all that it needs in a folder of its own.

    Returns:
        What evaluations measured, by the keys of the jobs that have one.
    """
    waiting, done, running, found = list(jobs), set[str](), dict[Future[Metrics], Job](), dict[str, Metrics]()
    with ProcessPoolExecutor(PROCESSES, get_context("spawn"), os.nice, (NICENESS,)) as pool:
        while waiting or running:
            for job in [job for job in waiting if not share or done.issuperset(job.needs)]:
                waiting.remove(job)
                root = folder / ("shared" if share else job.key)
                running[pool.submit(compute, job, root, folder / "cache")] = job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                done.add(job.key)
                found[job.key] = future.result()
    return {key: metrics for key, metrics in found.items() if metrics}


def compute(job: Job, root: Path, cache: Path) -> Metrics:
    """Train a model and evaluate it, and the trigger on the clean base; in a process of the pool."""
    import torch

    torch.set_num_threads(1)  # as a trial has it
    context = Context(store=cast(Store, Files(root)), cache=cache)
    stages = [job.stage, *([job.evaluation] if job.evaluation else [])]
    metrics: Metrics = {}
    for stage in stages:
        metrics = _compute(stage, context)
    if job.base_evaluation is not None:
        _compute(job.base_evaluation, context)
    return metrics if job.evaluation else {}


def _compute(stage: Stage, context: Context) -> Metrics:
    """Make a stage's files, those of its inputs first, and return its metrics; nothing where they are there."""
    folder = cast(Files, context.store).folder(stage)
    if folder.exists():
        return {}
    for needed in stage.inputs:
        _compute(needed, context)
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    metrics: Metrics = stage.compute(context, partial)["metrics"]
    try:
        partial.rename(folder)
    except OSError:  # the other process has evaluated the same base
        shutil.rmtree(partial)
    return metrics
