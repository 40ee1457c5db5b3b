"""Noise that belongs to a sample: counted, not drawn, so that a whole batch is made at once, on any device.

Each value is a hash of (seed, salt, sample, position). Nothing depends on the batch, on the order or on a generator's
state, and integers hash to the same bits on a CPU and on a GPU.
"""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MASK = 0xFFFFFFFF


def uniform(seed: int, samples: "Tensor", count: int, *salt: int) -> "Tensor":
    """Uniform in [0, 1), float32 [N, count] on the device of ``samples``.

    Args:
        seed: Any whole number from 0.
        samples: int64 [N], from 0.
        count: Values for each sample.
        salt: Tells apart the uses of one seed.
    """
    import torch

    rows = torch.zeros_like(samples)
    words = [part for number in (seed, *salt) for part in (number & MASK, number >> 32 & MASK)]
    for word in words:
        rows = _mixed(rows ^ word)
    rows = _mixed(_mixed(rows ^ (samples & MASK)) ^ (samples >> 32))
    columns = torch.arange(count, device=samples.device)
    hashed = _mixed(_mixed(rows[:, None] ^ columns) ^ rows[:, None])
    return (hashed >> 8).to(torch.float32) * 2.0**-24


def normal(seed: int, samples: "Tensor", count: int, *salt: int) -> "Tensor":
    """Standard normal, float32 [N, count], by Box and Muller's transform of :func:`uniform`."""
    radius, angle = uniform(seed, samples, 2 * count, *salt).chunk(2, dim=1)
    return (-2 * (1 - radius).log()).sqrt() * (2 * math.pi * angle).cos()


def integers(seed: int, samples: "Tensor", high: int, count: int, *salt: int) -> "Tensor":
    """Whole numbers from 0 to ``high - 1``, int64 [N, count]."""
    return (uniform(seed, samples, count, *salt) * high).long().clamp(max=high - 1)


def _mixed(words: "Tensor") -> "Tensor":
    """A 32-bit hash (C. Wellons, "lowbias32", 2018), held in int64 so that no product overflows."""
    words = (words ^ (words >> 16)) * 0x7FEB352D & MASK
    words = (words ^ (words >> 15)) * 0x846CA68B & MASK
    return words ^ (words >> 16)
