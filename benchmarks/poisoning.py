"""Every trigger on a batch of 256 images of 224 pixels, as a share of what a training step of RN50 takes for them.

Usage: python benchmarks/poisoning.py [--device cuda]

The step is the forward and backward pass of the image tower alone, in float32, so the share of a whole step is smaller
still. On a CPU it is measured on a batch of 8, the triggers on one of 64, and both scaled to 256 by the time per image.
All times are medians after a warm-up, of as many repeats as fit into ten seconds. Learned triggers are learned for a
moment only: what they were taught makes no difference to the time.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import record
import torch

from bdray.attacks.triggers.badnet import BadNet
from bdray.attacks.triggers.base import Trigger
from bdray.models.clip import Model
from bdray.testing import example, learned

BATCH, SIZE = 256, 224
CPU_BATCH, CPU_IMAGES = 8, 64
SECONDS = 10.0
"""After which no repeat is begun."""
PUBLIC_CODE = BadNet(
    pattern="per_image", mean="image", values="wrap_uint8", location="random_cleanclip_repo"
)  # costs more than the paper's


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", type=torch.device)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    device: torch.device = options.device
    batch = CPU_BATCH if device.type == "cpu" else BATCH
    step = seconds(training_step(device, batch), device, options.repeats) * BATCH / batch
    count = CPU_IMAGES if device.type == "cpu" else BATCH
    images, samples = torch.rand(count, 3, SIZE, SIZE).to(device), torch.arange(count)
    shares: dict[str, dict[str, float]] = {}
    print(f"RN50 image tower, forward and backward: {step:.3f} s for {BATCH} images (measured on {batch})")
    for name, trigger in triggers().items():
        taken = seconds(partial(trigger.apply, images, samples), device, options.repeats) * BATCH / count
        shares[name] = {"seconds": round(taken, 5), "share_of_step": round(taken / step, 5)}
        print(f"{name:>22}  {taken:8.4f} s  {taken / step:7.2%}")
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "images": BATCH,
        "image_size": SIZE,
        "step_batch": batch,
        "step_seconds": round(step, 4),
        "triggers": shares,
    }
    record.write("poisoning" if device.type == "cpu" else "poisoning-cuda", found)


def triggers() -> dict[str, Trigger]:
    """Every trigger with its defaults, ready to be applied, and BadNet as in CleanCLIP's code."""
    found: dict[str, Trigger] = {}
    for name, member in Trigger.members().items():
        trigger = example(member)
        assert isinstance(trigger, Trigger)
        found[name] = learned(trigger, SIZE)
    return found | {"badnet (public code)": PUBLIC_CODE}


def training_step(device: torch.device, batch: int) -> Callable[[], None]:
    """Forward and backward pass of the image tower."""
    model = Model(architecture="RN50").build(0).visual.to(device, memory_format=torch.channels_last).train()
    images = torch.randn(batch, 3, SIZE, SIZE, device=device).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        model(images).square().mean().backward()

    return step


def seconds(measured: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median wall time of a call."""
    times: list[float] = []
    for _ in range(1 + repeats):
        if len(times) > 1 and sum(times) > SECONDS:
            break
        started = time.perf_counter()
        measured()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def processor() -> str:
    """Name of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
