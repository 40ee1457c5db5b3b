"""What a stage is: one step of an experiment, with a result of its own in the store.

It is a pure function of the parts of the experiment that it reads and of its inputs' results. Its key is a hash of just
these, so that stages are shared by all trials, studies and users that agree on them.
"""

import os
import platform
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from bdray import config
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.provenance import provenance
from bdray.pipeline.store import Manifest, Store

Report = Callable[[str, Mapping[str, float]], None]


def silent(stage: str, metrics: Mapping[str, float]) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Context:
    """Where a stage runs. Nothing in here changes a result."""

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
        """Read the result from the store, or compute and save it, inputs first."""
        manifest = context.store.find(self.name, self.key)
        if manifest is not None:
            return manifest
        for stage in self.inputs:
            stage.result(context)
        started = time.time()
        with tempfile.TemporaryDirectory(prefix=f"bdray-{self.name}-") as name:
            folder = Path(name)
            found = self.compute(context, folder)
            manifest = {
                "version": self.version,
                "reads": self.reads(),
                "inputs": {stage.name: stage.key for stage in self.inputs},
                "started": started,
                "seconds": time.time() - started,
                "worker": f"{platform.node()}:{os.getpid()}",
                **provenance(),
                **found,
            }
            if context.rank == 0:
                files = {path.name: path for path in sorted(folder.iterdir())}
                manifest = context.store.save(self.name, self.key, manifest, files)
                shutil.rmtree(context.store.workspace(self.name, self.key), ignore_errors=True)
        if context.world_size > 1:  # the other workers must not look for the result before it is there
            import torch.distributed

            torch.distributed.barrier()
        return manifest


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
