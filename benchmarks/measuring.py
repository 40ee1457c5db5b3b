"""What the benchmarks share: sides that take turns in one process, and results as a table and as a file."""

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


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


def save(name: str, found: Mapping[str, Any]) -> None:
    """Write ``results/NAME.json``, with the date and the number of CPUs that this process may use."""
    about = {"date": datetime.now(UTC).date().isoformat(), "cpus": len(os.sched_getaffinity(0))}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({**about, **found}, indent=1) + "\n", encoding="utf-8")
