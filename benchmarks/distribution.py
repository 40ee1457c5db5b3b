"""Two workers that share a training against one: samples a second, gradients, and the bytes that they send.

Usage: python benchmarks/distribution.py             (two minutes on two CPU cores, a thread for each worker)
       python benchmarks/distribution.py --tiny      (only shows that it runs)

The training is the built-in study's, through ``Session.train``: same global batch, so each of two workers computes half
of it. They talk through gloo on this machine. One worker and two take turns in the same processes; efficiency is the
rate of two over twice that of one. It is no more than what the two cores give to two processes at once, which
``two alone`` tells: each then trains for itself, and nobody talks.

Bytes are what one worker sends in a step, counted where the collectives are called, by the algorithms that send least:
``(W - 1) n`` to gather n bytes of each of W workers, ``2 (W - 1) / W n`` to sum n bytes over them. The minimum is one
gathering of all features and one sum of all gradients. Statistics of batch normalization come on top of it.

Gradients are those of the first step, of all parameters, in float64.
"""

import argparse
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import record
import torch
import torch.distributed
from bare_loop import build
from measuring import show
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.optimizer import register_optimizer_step_pre_hook
from training_step import OBJECTIVES, Setting, scenes, tiny

from bdray.objective import Batch, Encoders, Loss, Objective, TrainingModule
from bdray.text.eda import Eda
from bdray.training import loop
from bdray.training.batch_norm import synchronize
from bdray.training.session import Session

WORKERS = 2
METHODS = ("FT", "CleanCLIP")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="a tiny model and two steps; writes no result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bdray-bench-") as name:
        folder = Path(name)
        (tiny if options.tiny else scenes)(folder)  # made once for both
        spawn(work, args=(folder, options.rounds, options.tiny), nprocs=WORKERS)
        rows = torch.load(folder / "rows.pt", weights_only=True)
    for row in rows:
        show(row)
    if not options.tiny:
        record.write("distribution", {"workers": WORKERS, "threads": 1, "torch": torch.__version__, "rows": rows})


def work(rank: int, folder: Path, rounds: int, is_tiny: bool) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    with group(folder / "meeting", rank):  # warms up, and what follows starts at the same time
        torch.distributed.barrier()
    setting = tiny(folder) if is_tiny else scenes(folder)
    rows = [measured(Worker(rank, folder / method, setting, method), rounds) for method in METHODS]
    if rank == 0:
        torch.save(rows, folder / "rows.pt")


@dataclass
class Worker:
    """One of the two."""

    rank: int
    folder: Path
    setting: Setting
    method: str
    meetings: int = 0
    """How often they met, for every group needs a file of its own to meet at."""

    def train(self, *, together: bool, double: bool = False) -> float:
        """Train for two epochs, both workers together or this one alone; seconds of the second."""
        taken: list[float] = []
        model, objective = build(self.setting.model, torch.device("cpu")), OBJECTIVES[self.method]
        if double:
            model, objective = model.double(), InDouble(objective)
        if together:
            synchronize(model)
        Session(
            tokenizer=self.setting.tokenizer,
            seed=0,
            cache=self.folder / "views",
            report=lambda metrics: taken.append(metrics["train_seconds"]),
        ).train(
            model,
            objective,
            replace(self.setting.recipe, epochs=2),
            self.setting.pairs.images,
            self.setting.pairs.captions,
            text_augmentation=Eda(),
        )
        return taken[-1]

    @contextmanager
    def meeting(self) -> Iterator[None]:
        """A group of both workers, who leave it at the same time."""
        self.meetings += 1
        self.folder.mkdir(exist_ok=True)
        with group(self.folder / f"meeting-{self.meetings}", self.rank):
            yield


@contextmanager
def group(meeting: Path, rank: int) -> Iterator[None]:
    """A process group of both."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=WORKERS)
    try:
        yield
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()


def measured(worker: Worker, rounds: int) -> dict[str, Any]:
    """One row of the table, the same on both workers but for the noise of their clocks."""
    setting = worker.setting
    steps = len(setting.pairs.captions) // setting.recipe.batch_size
    times: dict[str, list[float]] = {"one": [], "two_alone": [], "two": []}
    for _ in range(rounds):
        if worker.rank == 0:
            times["one"].append(worker.train(together=False))
        with worker.meeting():
            pass
        times["two_alone"].append(worker.train(together=False))
        with worker.meeting():
            times["two"].append(worker.train(together=True))
    sent = bytes_sent(worker)
    difference, largest = gradients_differ(worker)
    if worker.rank != 0:
        return {}
    least = minimum(worker)
    one, alone, two = (statistics.median(times[name]) for name in times)
    return {
        "method": worker.method,
        "batch": setting.recipe.batch_size,
        "one_samples_per_second": round(steps * setting.recipe.batch_size / one, 1),
        "two_samples_per_second": round(steps * setting.recipe.batch_size / two, 1),
        "efficiency": round(one / two / WORKERS, 3),
        "efficiency_alone": round(one / alone, 3),
        "bytes_per_step": {name: count // (2 * steps) for name, count in sorted(sent.items())},
        "least_bytes_per_step": least,
        "times_least": round(sum(sent.values()) / (2 * steps) / least, 4),
        "largest_gradient": largest,
        "largest_gradient_difference": difference,
    }


def bytes_sent(worker: Worker) -> Counter[str]:
    """Of a training of both, by what for."""
    sent: Counter[str] = Counter()

    def all_gather(parts: list[Tensor], own: Tensor) -> None:
        sent["features"] += (WORKERS - 1) * own.nbytes
        gathers(parts, own)

    def all_reduce(own: Tensor, *given: Any, **named: Any) -> object:
        sent["gradients" if named.get("async_op") else "statistics"] += of_sum(own)  # only the hook's does not wait
        return sums(own, *given, **named)

    def parallel(module: TrainingModule) -> DistributedDataParallel:
        made = distributed(module)
        # What DDP does by itself, but where it can be seen.
        made.register_comm_hook(None, default_hooks.allreduce_hook)
        if made.broadcast_buffers:  # before every forward pass
            buffers = sum(buffer.nbytes for buffer in module.buffers())
            made.register_forward_pre_hook(lambda *given: sent.update({"buffers": buffers * (WORKERS - 1) // WORKERS}))
        return made

    gathers, sums, distributed = torch.distributed.all_gather, torch.distributed.all_reduce, loop._distributed
    with (
        worker.meeting(),
        replaced(torch.distributed, "all_gather", all_gather),
        replaced(torch.distributed, "all_reduce", all_reduce),
        replaced(loop, "_distributed", parallel),
    ):
        worker.train(together=True)
    return sent


def gradients_differ(worker: Worker) -> tuple[float, float]:
    """How far the gradients of two workers are at most from those of one, and how large the largest is."""
    alone = first_gradients(worker, together=False)
    with worker.meeting():
        together = first_gradients(worker, together=True)
    differences = [(own - other).abs().max().item() for own, other in zip(alone, together, strict=True)]
    return max(differences), max(own.abs().max().item() for own in alone)


def first_gradients(worker: Worker, *, together: bool) -> list[Tensor]:
    """Of all parameters, before the optimizer's first step, in float64."""
    found: list[list[Tensor]] = []

    def keep(optimizer: torch.optim.Optimizer, *given: object) -> None:
        groups = optimizer.param_groups
        found.append([parameter.grad.clone() for group in groups for parameter in group["params"]])

    handle = register_optimizer_step_pre_hook(keep)
    try:
        worker.train(together=together, double=True)
    finally:
        handle.remove()
    return found[0]


@dataclass(frozen=True)
class InDouble:
    """An objective for batches turned to float64, which a feed has in float32."""

    objective: Objective

    @property
    def needs_views(self) -> bool:
        """As the objective says."""
        return self.objective.needs_views

    def __call__(self, model: Encoders, batch: Batch) -> Loss:
        """The loss."""
        views = batch.augmented_images
        doubled = replace(
            batch, images=batch.images.double(), augmented_images=None if views is None else views.double()
        )
        return self.objective(model, doubled)


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Another attribute for a while."""
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)


def of_sum(values: Tensor) -> int:
    """Bytes that a worker sends so that all have the sum."""
    return 2 * (WORKERS - 1) * values.nbytes // WORKERS


def minimum(worker: Worker) -> int:
    """Bytes that a worker has to send in a step."""
    model = build(worker.setting.model, torch.device("cpu"))
    views = 2 if OBJECTIVES[worker.method].needs_views else 1
    features: int = 2 * views * worker.setting.recipe.batch_size // WORKERS * model.visual.output_dim * 4
    return (WORKERS - 1) * features + sum(of_sum(parameter) for parameter in model.parameters())


if __name__ == "__main__":
    main()
