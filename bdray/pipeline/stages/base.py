"""What a stage is: one step of an experiment, with a result of its own in the store.

It is a pure function of the parts of the experiment that it reads and of its inputs' results. Its key is a hash of just
these, so that stages are shared by all trials, studies and users that agree on them.
"""

import os
import platform
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, get_args

from bdray import config
from bdray.data.base import Split
from bdray.exceptions import LostResultError
from bdray.models.execution import Execution
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.provenance import provenance
from bdray.pipeline.store import Manifest, Store
from bdray.pipeline.work import Work, device_name, work_of

Report = Callable[[str, Mapping[str, float]], None]
MAX_REPAIRS = 3
"""How many damaged results a stage has made anew before it gives up: more mean a broken disk."""


def silent(stage: str, metrics: Mapping[str, float]) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Context:
    """Where and how a stage runs. Nothing in here makes another result, but for last digits (:class:`Execution`)."""

    store: Store
    cache: Path
    """Local folder for prepared data, shared by all trials of a node."""
    report: Report = silent
    """Told stage name and metrics of every finished epoch."""
    rank: int = 0
    """This worker's place in its group; only the first writes to the store."""
    world_size: int = 1
    """Workers that compute the stage together."""
    device: str = "cpu"
    execution: Execution = Execution()
    """How models are computed."""
    checkpoint_minutes: float | None = None
    """How often the state of a training is kept within its epochs; None: after them only."""

    def find(self, stage: "Stage") -> Manifest | None:
        """Look a result up in the store, as one for the whole group of workers.

        A worker that starts late would otherwise find what the first one has saved meanwhile, and leave it alone in
        the work that both have to share.
        """
        manifest = self.store.find(stage.name, stage.key)
        if self.world_size == 1:
            return manifest
        import torch
        import torch.distributed

        answer = torch.tensor([float(manifest is not None)], device=self.device)
        torch.distributed.broadcast(answer, src=0)
        if not answer.item():
            return None
        return manifest or self.store.find(stage.name, stage.key)


@dataclass(frozen=True)
class Stage(ABC):
    """One step of an experiment, with a result of its own in the store."""

    experiment: Experiment
    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Counted up whenever the same configuration gives a different result."""

    @abstractmethod
    def reads(self) -> dict[str, Any]:
        """The parts of the experiment that decide the result, apart from the inputs, as plain JSON."""

    @property
    def inputs(self) -> "tuple[Stage, ...]":
        """Stages whose results this one starts from."""
        return ()

    @abstractmethod
    def compute(self, context: Context, folder: Path) -> dict[str, Any]:
        """Do the work.

        Args:
            context: Where to read inputs and how to report.
            folder: Empty; files put here become files of the result.

        Returns:
            What the manifest records: ``metrics``, and ``history`` where the stage trains.
        """

    def work(self) -> Work | None:
        """How much it computes, known before it runs; None for a stage that passes no images through a model."""
        return None

    @cached_property
    def key(self) -> str:
        """Name of the result in the store."""
        inputs = [stage.key for stage in self.inputs]
        return config.fingerprint(
            {"stage": self.name, "version": self.version, "reads": self.reads(), "inputs": inputs}
        )

    def upstream(self) -> "list[Stage]":
        """All stages this one needs, in the order of their making."""
        return [found for stage in self.inputs for found in (*stage.upstream(), stage)]

    def result(self, context: Context) -> Manifest:
        """Read the result from the store, or compute and save it, inputs first.

        A file that turns out to be damaged on the way is set aside by the store, and its stage computed anew.
        """
        manifest = context.find(self)
        if manifest is not None:
            return manifest
        for stage in self.inputs:
            stage.result(context)
        for attempt in range(MAX_REPAIRS + 1):
            try:
                return self._make(context)
            except LostResultError as error:
                lost = [stage for stage in self.upstream() if stage.key == error.key]
                # A group of workers does not repair: Ray Train starts it again, and then all find the same.
                if not lost or attempt == MAX_REPAIRS or context.world_size > 1:
                    raise
                lost[0].result(context)
        raise AssertionError("the last attempt returns or raises")

    def _make(self, context: Context) -> Manifest:
        """Compute and save the result; its inputs are there."""
        started, busy = time.time(), time.process_time()
        with tempfile.TemporaryDirectory(prefix=f"bdray-{self.name}-") as name:
            folder = Path(name)
            found, work = self.compute(context, folder), self.work()
            manifest = {
                "version": self.version,
                "reads": self.reads(),
                "inputs": {stage.name: stage.key for stage in self.inputs},
                "started": started,
                "seconds": time.time() - started,
                "cpu_seconds": time.process_time() - busy,
                "worker": f"{platform.node()}:{os.getpid()}",
                "work": asdict(work) if work else None,
                "execution": {
                    **config.dump(context.execution),
                    "device": context.device,
                    "device_name": device_name(context.device),
                    "world_size": context.world_size,
                },
                "prepared_data": _prepared(self.experiment, context.cache),
                **provenance(),
                **found,
            }
            if context.rank == 0:
                files = {path.name: path for path in sorted(folder.iterdir())}
                manifest = context.store.save(self.name, self.key, manifest, files)
                context.store.clear_workspace(self.name, self.key)
        if context.world_size > 1:  # the other workers must not look for the result before it is there
            import torch.distributed

            torch.distributed.barrier()
        return manifest


def _prepared(experiment: Experiment, cache: Path) -> dict[str, Any]:
    """How the splits of the data set were prepared: what was left out, and why. Empty for data that are drawn."""
    notes = {split: experiment.data.notes(split, cache) for split in get_args(Split)}
    return {split: found for split, found in notes.items() if found}


class EpochStage(Stage):
    """A stage that works in epochs: what a slot computes in one go, and what people watch."""

    @property
    @abstractmethod
    def epochs(self) -> int:
        """Epochs it trains for, over all its phases."""

    @property
    @abstractmethod
    def images(self) -> int:
        """Images that pass the model forward and backward: a rough measure of its cost."""

    @property
    def batch_size(self) -> int | None:
        """Samples that the workers share in a step; None if every worker computes it all."""
        return None

    @property
    def watched(self) -> int:
        """Images that pass the model forward only, to judge epochs by."""
        return 0

    def work(self) -> Work | None:
        if self.images == 0:
            return None
        return work_of(
            self.experiment.model,
            trained=self.images,
            watched=self.watched,
            epochs=self.epochs,
            batch_size=self.batch_size,
        )
