"""The memory of a process and of all that it starts, watched from outside."""

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil


def watched(
    command: Sequence[str], look: Callable[[int], object], interval: float = 2.0, cwd: Path | None = None
) -> float:
    """Run a command without its output, and look at its process from time to time; returns its seconds."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=cwd)
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(interval):
            look(process.pid)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    status = process.wait()
    seconds = time.perf_counter() - started
    stop.set()
    watcher.join()
    if status != 0:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    return seconds


def family(pid: int) -> list[psutil.Process]:
    """A process and all its descendants; none if it has ended."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory(process: psutil.Process) -> Any:
    """``rss``, and ``pss``, to which a page that several processes share counts by a share; None if it has ended."""
    try:
        return process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def proportional_memory(pid: int) -> float:
    """Bytes of a process and all its descendants together: pages that they share count once."""
    return float(sum(found.pss for process in family(pid) if (found := memory(process))))
