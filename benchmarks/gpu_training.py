"""Our training loop against a bare forward, backward and optimizer step: samples/s, share of the GPU's peak, memory.

Usage: python benchmarks/gpu_training.py [--precision bf16] [--steps 30]      (needs a CUDA GPU)
       python benchmarks/gpu_training.py --device cpu --tiny                  (only shows that it runs)

Models and batches are the papers': CLIP's RN50 and ViT-B/32 at 224 px, 64 and 256 samples. Both sides get the same
batches, which lie on the GPU already: how fast they can be made is another benchmark. FT passes one image and one
caption for each sample, CleanCLIP two. Operations are counted by torch's FLOP counter on a step of the bare loop.
Last, two trials share the GPU, as a study with half a GPU for each has it: their rates together against one alone.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any, cast

import open_clip
import record
import torch
from bare_loop import BareLoop, Resident, build
from measuring import show
from torch.utils.flop_counter import FlopCounterMode

from bdray.models.execution import Execution
from bdray.objective import Batch, ContrastiveObjective
from bdray.training.feed import Feed
from bdray.training.loop import train
from bdray.training.optim import Recipe

ARCHITECTURES, BATCHES = ("RN50", "ViT-B-32"), (64, 256)
OBJECTIVES = {"FT": ContrastiveObjective(), "CleanCLIP": ContrastiveObjective(1.0, 1.0)}
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "V100": 125e12, "T4": 65e12}
"""Dense operations a second in half precision, as the maker states them, by a part of the GPU's name."""


Meeting = Callable[[], object]
"""Waits for whoever else is measured; ``int`` waits for nobody."""


@dataclass(frozen=True)
class SyntheticFeed:
    """The same batch again and again, where a feed would make new ones."""

    batch: Batch
    steps_per_epoch: int
    device: torch.device
    rank: int = 0
    world_size: int = 1

    def epoch(self, epoch: int, *, views: bool = True, first: int = 0) -> Iterator[Batch]:
        """All steps of an epoch."""
        for _ in range(first, self.steps_per_epoch):
            yield self.batch


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", type=torch.device)
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--compile", action="store_true", help="compile the towers on both sides")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and three steps; writes no result")
    options = parser.parse_args()
    device: torch.device = options.device
    if device.type == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA GPU here. Run this where there is one, or with --device cpu --tiny.")
        return  # not a failure, or `make bench` would end here
    execution = Execution(precision=options.precision, compile=options.compile)
    names, batches, steps = (("tiny",), (8,), 3) if options.tiny else (ARCHITECTURES, BATCHES, options.steps)
    rows = [
        measured(name, size, objective, execution, device, steps)
        for name in names
        for size in batches
        for objective in OBJECTIVES
    ]
    shared = sharing(names[0], batches[0], "CleanCLIP", execution, device, steps)
    if not options.tiny:
        found = {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "torch": torch.__version__,
            "precision": options.precision,
            "compile": options.compile,
            "rows": rows,
            "shared": shared,
        }
        record.write("gpu_training", found)


def measured(
    name: str, size: int, objective: str, execution: Execution, device: torch.device, steps: int
) -> dict[str, Any]:
    """One row of the table."""
    batch = synthetic(name, size, device, views=OBJECTIVES[objective].needs_views)
    bare, operations = bare_loop(build(name, device), batch, execution, steps)
    ours, memory = trial(name, size, objective, execution, device, steps)
    peak = next((peak for part, peak in PEAK.items() if device.type == "cuda" and part in device_name(device)), None)
    row = {
        "model": name,
        "batch": size,
        "objective": objective,
        "samples_per_second": round(size / ours, 1),
        "bare_samples_per_second": round(size / bare, 1),
        "ratio": round(bare / ours, 3),
        "tflops": round(operations / ours / 1e12, 2),
        "share_of_peak": round(operations / ours / peak, 3) if peak else None,
        "memory_gib": round(memory / 2**30, 2),
    }
    show(row)
    return row


def sharing(
    name: str, size: int, objective: str, execution: Execution, device: torch.device, steps: int
) -> dict[str, Any]:
    """What two trials at once reach together, each in a process of its own."""
    alone, _ = trial(name, size, objective, execution, device, steps)
    context = get_context("spawn")
    barrier, results = context.Barrier(2, timeout=600), context.SimpleQueue()  # for one may fail
    given = name, size, objective, execution, device, steps, barrier, results
    trials = [context.Process(target=sharing_trial, args=given) for _ in range(2)]
    for one in trials:
        one.start()
    for one in trials:
        one.join()
        if one.exitcode != 0:
            raise SystemExit(f"A trial that shares the device ended with {one.exitcode}; see above.")
    found = [results.get() for _ in trials]
    together = sum(size / taken for taken, _ in found)
    row = {
        "model": name,
        "batch": size,
        "objective": objective,
        "trials": 2,
        "samples_per_second": round(together, 1),
        "alone_samples_per_second": round(size / alone, 1),
        "ratio": round(together * alone / size, 3),
        "memory_gib_each": round(max(memory for _, memory in found) / 2**30, 2),
    }
    show(row)
    return row


def trial(
    name: str, size: int, objective: str, execution: Execution, device: torch.device, steps: int, meet: Meeting = int
) -> tuple[float, int]:
    """Our loop on a model and a batch of its own; as it says."""
    batch = synthetic(name, size, device, views=OBJECTIVES[objective].needs_views)
    return our_loop(build(name, device), batch, OBJECTIVES[objective], execution, steps, meet)


def sharing_trial(
    name: str,
    size: int,
    objective: str,
    execution: Execution,
    device: torch.device,
    steps: int,
    barrier: Barrier,
    results: Any,
) -> None:
    """One of the two, which start their second epoch, the one that counts, at the same time."""
    torch.set_num_threads(1)
    results.put(trial(name, size, objective, execution, device, steps, barrier.wait))


def our_loop(
    model: open_clip.CLIP,
    batch: Batch,
    objective: ContrastiveObjective,
    execution: Execution,
    steps: int,
    meet: Meeting = int,
) -> tuple[float, int]:
    """Seconds a step of ``bdray.training.loop.train``, and bytes of the GPU at most; ``meet`` ends every epoch."""
    device = batch.images.device
    reset_memory(device)
    feed = cast(Feed, SyntheticFeed(batch, steps, device))

    def ended(metrics: Mapping[str, float]) -> None:
        meet()

    # The time of a whole epoch, with the losses read in the end.
    history = train(model, objective, feed, recipe(batch), report=ended, execution=execution)
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return history[-1]["train_seconds"] / steps, memory


def bare_loop(model: open_clip.CLIP, batch: Batch, execution: Execution, steps: int) -> tuple[float, int]:
    """Seconds a step of the shortest loop that trains the same, and its operations."""
    device, resident = batch.images.device, Resident.of(batch)
    bare = BareLoop(model, recipe(batch), execution)
    with FlopCounterMode(display=False) if not execution.compile else nullcontext() as counter:
        bare.step(resident)
    for _ in range(steps):
        bare.step(resident)
    synchronize(device)
    started = time.perf_counter()
    for _ in range(steps):
        bare.step(resident)
    synchronize(device)
    return (time.perf_counter() - started) / steps, counter.get_total_flops() if counter else 0


def recipe(batch: Batch) -> Recipe:
    """Of both sides; the first of two epochs warms up."""
    return Recipe(epochs=2, batch_size=len(batch.images), learning_rate=1e-6, warmup_steps=0)


def synthetic(name: str, size: int, device: torch.device, *, views: bool) -> Batch:
    """Random pixels and tokens, with second views if asked for."""
    side, length, words = (32, 16, 800) if name == "tiny" else (224, 77, 49_000)
    generator = torch.Generator().manual_seed(0)

    def pixels() -> torch.Tensor:
        made = torch.randn(size, 3, side, side, generator=generator)
        return made.to(device).contiguous(memory_format=torch.channels_last)

    def tokens() -> torch.Tensor:
        return torch.randint(1, words, (size, length), generator=generator).to(device)

    return Batch(
        images=pixels(),
        tokens=tokens(),
        samples=torch.arange(size, device=device),
        is_poisoned=torch.zeros(size, dtype=torch.bool),
        augmented_images=pixels() if views else None,
        augmented_tokens=tokens() if views else None,
    )


def device_name(device: torch.device) -> str:
    """What the GPU is called."""
    return torch.cuda.get_device_name(device)


def synchronize(device: torch.device) -> None:
    """Wait for the GPU, if it is one."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_memory(device: torch.device) -> None:
    """Count the GPU's memory from here on."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


if __name__ == "__main__":
    main()
