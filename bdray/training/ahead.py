"""Work of processes of their own that goes on while the model computes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from bdray.exceptions import BdrayError

Job = TypeVar("Job")
Made = TypeVar("Made")

PREFETCH = 2
"""Results that each process has ready at most."""


def ahead(make: Callable[[Job], Made], jobs: Sequence[Job], processes: int) -> Iterator[Made]:
    """``map(make, jobs)``, in the same order, made ahead by processes that are forked from this one.

    They see what this process holds, memory maps included, without a copy, and compute on one CPU thread each.

    Args:
        make: A pure function; what it gives reaches this process through shared memory.
        jobs: What to make.
        processes: How many; 0: made here, when asked for.

    Raises:
        BdrayError: The one that ``make`` raised, as if it had been called here.
    """
    if processes == 0:
        yield from map(make, jobs)
        return
    loader: DataLoader[Any] = DataLoader(
        _Jobs(make, jobs),
        batch_size=None,
        num_workers=processes,
        prefetch_factor=PREFETCH,
        collate_fn=_as_it_is,
        multiprocessing_context="fork",
        generator=torch.Generator(),  # or it would draw from the one that training draws from
    )
    for made in loader:
        if isinstance(made, BdrayError):
            raise made
        yield made


class _Jobs(Dataset[Any], Generic[Job, Made]):
    """Jobs as a data set; an error of ours is handed over whole, because DataLoader would wrap it in a traceback."""

    def __init__(self, make: Callable[[Job], Made], jobs: Sequence[Job]) -> None:
        self._make, self._jobs = make, jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, index: int) -> Made | BdrayError:
        try:
            return self._make(self._jobs[index])
        except BdrayError as error:
            return error


def _as_it_is(made: Made) -> Made:
    return made
