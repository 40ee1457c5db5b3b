"""Passing many samples through a model: in batches, which the workers of a group may share."""

from collections.abc import Callable

import torch
import torch.distributed
from torch import Tensor

BATCH = 256


def in_batches(count: int, compute: Callable[[Tensor], Tensor], *, shared: bool = False, batch: int = BATCH) -> Tensor:
    """One row for each of ``count`` samples, in their order.

    Which samples pass together does not depend on the number of workers, so that the rows are the same for any.

    Args:
        count: N, at least 1.
        compute: Gives the rows, [n, ...], of the samples at some positions, int64 [n].
        shared: Whether the workers of the process group take turns; all of them must call, and all get all rows.
        batch: Samples at a time.

    Returns:
        [N, ...].
    """
    batches = torch.arange(count).split(batch)
    if not shared:
        return torch.cat([compute(positions) for positions in batches])
    rank, workers = torch.distributed.get_rank(), torch.distributed.get_world_size()
    found = [compute(positions) for positions in batches[rank::workers]]
    own = torch.cat(found) if found else compute(batches[0])[:0]  # with nothing to do: how rows look
    turns = [torch.cat(turn) if (turn := batches[worker::workers]) else torch.arange(0) for worker in range(workers)]
    longest = max(map(len, turns))  # collectives are of equal shapes
    padded = torch.cat([own, own.new_zeros(longest - len(own), *own.shape[1:])])
    parts = [torch.empty_like(padded) for _ in turns]
    torch.distributed.all_gather(parts, padded.contiguous())
    rows = torch.cat([part[: len(turn)] for part, turn in zip(parts, turns, strict=True)])
    return rows[torch.cat(turns).argsort().to(rows.device)]
