"""What the benchmarks share: sides that take turns in one process, and rows of a table."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """How many times as long the others take: the median over rounds, so that a busy machine disturbs both sides."""
    return statistics.median(other / own for own, other in zip(times, others, strict=True))


def show(row: Mapping[str, Any]) -> None:
    """Print a line of the table."""
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
