"""Noise that belongs to a sample: counted, not drawn, so that a whole batch is made at once, on any device.

Each value is a hash of (seed, salt, sample, position). Nothing depends on the batch, on the order or on a generator's
state. Integers hash to the same bits on a CPU and on a GPU, and what is made of them takes no more than exact steps.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MASK = 0xFFFFFFFF
START = 0x9E3779B9
"""What the first word is hashed with: the hash of 0 is 0, and seed 0 is the one that all use."""
NUM_QUANTILES = 2**16
CPU_CHUNK = 2**18
"""Values made at once on a CPU: their 32-bit words, twice 1 MB, stay in its cache, which makes it ten times faster."""


def uniform(seed: int, samples: "Tensor", count: int, *salt: int) -> "Tensor":
    """Uniform in [0, 1), float32 [N, count] on the device of ``samples``.

    Args:
        seed: Any whole number from 0.
        samples: int64 [N], from 0.
        count: Values for each sample.
        salt: Tells apart the uses of one seed.
    """
    import torch

    rows = torch.full_like(samples, START + len(salt))
    words = [part for number in (seed, *salt) for part in (number & MASK, number >> 32 & MASK)]
    for word in words:
        rows = _mixed(rows ^ word)
    rows = _signed(_mixed(_mixed(rows ^ (samples & MASK)) ^ (samples >> 32)))[:, None]
    columns = _signed(_mixed(torch.arange(count, device=samples.device)))
    values = torch.empty(len(samples), count, device=samples.device)
    chunk = max(1, CPU_CHUNK // max(1, count)) if samples.device.type == "cpu" else max(1, len(samples))
    for part, keys in zip(values.split(chunk), rows.split(chunk), strict=True):
        words32 = keys ^ columns
        scratch = torch.empty_like(words32)
        _mix(words32, scratch)
        part.copy_(_shifted(words32, 8, scratch)).mul_(2.0**-24)
    return values


def normal(seed: int, samples: "Tensor", count: int, *salt: int) -> "Tensor":
    """Standard normal, float32 [N, count]: each value is one of 65,536 quantiles of equal probability, up to 4.3.

    A logarithm or a cosine may differ in the last bit from device to device; a table does not.
    """
    import torch

    levels = (torch.arange(NUM_QUANTILES, dtype=torch.float64) + 0.5) / NUM_QUANTILES
    quantiles: Tensor = torch.special.ndtri(levels).to(samples.device, torch.float32)
    return quantiles[integers(seed, samples, NUM_QUANTILES, count, *salt)]


def integers(seed: int, samples: "Tensor", high: int, count: int, *salt: int) -> "Tensor":
    """Whole numbers from 0 to ``high - 1``, int64 [N, count]; ``high`` is at most 2**24."""
    return (uniform(seed, samples, count, *salt) * high).long().clamp(max=high - 1)


def enlarge(values: "Tensor", cell: int, size: int) -> "Tensor":
    """Give each value a square of ``cell`` x ``cell`` pixels: float [..., k, k] to [..., size, size], cut at the end.

    Args:
        values: At least ``size / cell`` rows and columns.
        cell: Side of a square.
        size: Side of the result.
    """
    import torch

    if cell == 1:
        return values
    cells = torch.arange(size, device=values.device) // cell
    return values[..., cells[:, None], cells]


def _mixed(words: "Tensor") -> "Tensor":
    """A 32-bit hash (C. Wellons, "lowbias32", 2018), held in int64 so that no product overflows."""
    words = (words ^ (words >> 16)) * 0x7FEB352D & MASK
    words = (words ^ (words >> 15)) * 0x846CA68B & MASK
    return words ^ (words >> 16)


def _mix(words: "Tensor", scratch: "Tensor") -> None:
    """The same hash in place and in half the memory: int32, whose products wrap around as those of uint32 do."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32)):
        words.bitwise_xor_(_shifted(words, shift, scratch)).mul_(factor)
    words.bitwise_xor_(_shifted(words, 16, scratch))


def _shifted(words: "Tensor", shift: int, scratch: "Tensor") -> "Tensor":
    """Shift int32 right into ``scratch`` as if it had no sign."""
    import torch

    return torch.bitwise_right_shift(words, shift, out=scratch).bitwise_and_((1 << (32 - shift)) - 1)


def _signed(words: "Tensor") -> "Tensor":
    """32-bit words held in int64 as int32 of the same bits."""
    import torch

    return (words - ((words >> 31) << 32)).to(torch.int32)
