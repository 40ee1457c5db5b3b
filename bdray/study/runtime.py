"""Where and how a study runs. Nothing in here makes another experiment, so nothing in here is hashed."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from bdray.models.execution import Execution
from bdray.registry import component
from bdray.study.gpus import count_gpus
from bdray.study.search.meter import Meter

ADDRESS = re.compile(r"auto|local|(ray://)?(\[[\da-fA-F:]+\]|[^\s/:]+):\d+|https?://\S+")
WAITING_CPU = 0.01
"""What a trial reserves for itself while Ray Train's workers, which reserve their own, compute for it."""


@component
class Launch(Execution):
    """How one trial's training is launched, and how its models are computed."""

    num_workers: int = Field(default=1, ge=1)
    """Workers that share each batch. One trains in the trial's own warm process, several through Ray Train."""
    launch: Literal["auto", "train"] = "auto"
    """``train`` asks for Ray Train with one worker too."""
    cpus_per_worker: float = Field(default=1, gt=0)
    """CPUs that each worker reserves."""
    gpus_per_worker: float = Field(default=0, ge=0)
    """GPUs that each worker reserves; fractions share a GPU between trials and need ``num_workers=1``."""
    across_nodes: bool = False
    """Let the workers of one trial be on several nodes. By default they share one, whose links are the faster ones, and
    a trial that fits on no node is refused."""
    threads: int = Field(default=1, ge=1)
    """Torch threads of each worker. On a CPU more than one collapses when the machine is busy."""
    max_retries: int = Field(default=2, ge=0)
    """How often a trial is started again when its process or node dies."""
    checkpoint_minutes: float | None = Field(default=None, gt=0)
    """How often the state of a training is kept within epochs, for epochs of hours; None: after every epoch only. A
    training that goes on from there ends in the same model."""

    @property
    def meter(self) -> Meter:
        """Counts what trials take: GPUs where they have some, else the places of their workers."""
        unit = "GPU" if self.gpus_per_worker else "slot"
        return Meter(rate=self.num_workers * (self.gpus_per_worker or 1), unit=unit)

    @property
    def nested(self) -> bool:
        """Whether a trial launches Ray Train."""
        return self.num_workers > 1 or self.launch == "train"

    def fit(self, nodes: Iterable[tuple[float, float]]) -> int:
        """How many trials run at once on nodes with so many CPUs and GPUs each."""
        places = [self._places(*node) for node in nodes]
        whole = [sum(places)] if self.across_nodes else places
        return sum(count // self.num_workers for count in whole)

    def _places(self, cpus: float, gpus: float) -> int:
        """Workers that fit on a node. The share of a GPU that a worker takes is of one GPU."""
        own = self.cpus_per_worker + self.nested * WAITING_CPU / self.num_workers
        fit = cpus / own
        if 0 < self.gpus_per_worker < 1:
            fit = min(fit, int(gpus) * int(1 / self.gpus_per_worker + 1e-9))  # ten times 0.1 GPU are one
        elif self.gpus_per_worker:
            fit = min(fit, gpus / self.gpus_per_worker)
        return int(fit + 1e-9)


@component
class Runtime:
    """Paths, addresses and resources."""

    output: Path = Path(".bdray")
    """Folder of everything that has no place of its own: store, cache, tracking database, reports."""
    store: str | None = Field(default=None, min_length=1)
    """Folder or URI of the store; by default in ``output``."""
    tracking_uri: str | None = Field(default=None, min_length=1)
    """MLflow server or database; by default a SQLite file in ``output``."""
    search_storage: str | None = Field(default=None, min_length=1)
    """Database of the histories of searches, ``postgresql://`` or ``sqlite:///``, so that several drivers share them;
    they should share the store, too. By default each study has a file of its own in ``output``."""
    address: str | None = Field(default=None, min_length=1)
    """Ray cluster, or ``http://`` of its job server, to which the study is sent; None starts a local one and stops it
    at the end."""
    shared_folders: tuple[Path, ...] = ()
    """Folders that all machines of the cluster have under the same path as this one, such as a mount of NFS."""
    cpus: int | None = Field(default=None, ge=1)
    """CPUs of the local Ray; None: all that this process may use."""
    slots: int | None = Field(default=None, ge=1)
    """Trials that run at once. More than fit are asked of the cluster's autoscaler, and wait for their nodes. None: as
    many as fit, which is counted again while the study runs."""
    training: Launch = Launch()
    """How trials train."""

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not ADDRESS.fullmatch(value):
            rule = "give auto, HOST:PORT or ray://HOST:PORT of a cluster, or http://HOST:8265 of its job server"
            raise ValueError(rule)
        return value

    @property
    def store_uri(self) -> str:
        """The store that is used; absolute, for workers need not share the driver's working folder."""
        if self.store is None:
            return str(self.output.absolute() / "store")
        return self.store if "://" in self.store else str(Path(self.store).expanduser().absolute())

    @property
    def tracking(self) -> str:
        """The MLflow URI that is used."""
        return self.tracking_uri or f"sqlite:///{self.output.absolute() / 'mlflow.db'}"

    @property
    def local_slots(self) -> int | None:
        """Trials that a local Ray runs at once; None where it could run none, or where a cluster does.

        What a cluster holds is known only when it answers.
        """
        if self.address is not None:
            return None
        gpus = count_gpus() if self.training.gpus_per_worker else 0
        fit = self.training.fit([(self.local_cpus, gpus)])
        return min(fit, self.slots or fit) or None

    @property
    def local_cpus(self) -> int:
        """CPUs that a local Ray is told it has: one more than there are where trials only wait for their workers."""
        return (self.cpus or len(os.sched_getaffinity(0))) + self.training.nested

    @property
    def expected_slots(self) -> int:
        """The same as ``local_slots``, or what is asked of a cluster, or 1."""
        return self.local_slots or self.slots or 1

    @property
    def cache(self) -> Path:
        """Local folder for prepared data."""
        return self.output.absolute() / "cache"


def is_job_server(address: str | None) -> bool:
    """Whether an address is that of a job server rather than of Ray itself."""
    return address is not None and address.startswith(("http://", "https://"))
