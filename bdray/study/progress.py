"""What the user sees while a study runs: a live table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from bdray.study.plan import Job, Result

MAX_ROWS = 24
CA, ASR = "clean_accuracy_top1", "attack_success_rate_top1"
STYLES = {"waiting": "dim", "failed": "red", "running": "bold", "pruned": "dim"}
MARKS = {"done": "✓", "failed": "✗", "running": "▸", "pruned": "↓"}
"""By state; what is pruned was stopped early, in the epoch that is shown."""
ENDED = ("done", "failed", "pruned")


class Progress(Protocol):
    """Told of everything that happens to the jobs of a study."""

    def start(self, job: Job) -> None:
        """A job was handed to a worker."""
        ...

    def epoch(self, job: Job, metrics: Mapping[str, Any]) -> None:
        """A job finished an epoch."""
        ...

    def finish(self, job: Job, result: Result) -> None:
        """A job's result is in the store."""
        ...

    def fail(self, job: Job, reason: str) -> None:
        """A job failed."""
        ...

    def stop(self, job: Job) -> None:
        """A job was stopped early."""
        ...


def progress(console: Console, missing: list[Job], slots: int) -> "LiveTable | PlainLines":
    """The live table for people, plain lines for logs."""
    return LiveTable(console, missing, slots) if console.is_terminal else PlainLines(console, missing)


@dataclass
class _Line:
    """What is known of one job."""

    job: Job
    state: str = "waiting"
    metrics: Mapping[str, Any] = field(default_factory=dict)
    started: float = 0.0
    seconds: float = 0.0
    first_epoch: int | None = None

    def left(self) -> float | None:
        """Seconds until the job is finished, by the pace of its epochs so far."""
        if self.state != "running" or self.first_epoch is None:
            return None
        epoch, epochs = int(self.metrics["epoch"]), self.job.epochs
        pace = self.seconds / (epoch - self.first_epoch + 1)
        return max(0.0, pace * (epochs - epoch) - (time.monotonic() - self.started - self.seconds))


class LiveTable:
    """Rich table that is redrawn in place."""

    def __init__(self, console: Console, missing: list[Job], slots: int) -> None:
        self._lines = {job.key: _Line(job) for job in missing}
        self._slots = slots
        self._began = time.monotonic()
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        self._live.console.print(self._render())

    def start(self, job: Job) -> None:
        """A job was handed to a worker."""
        line = self._lines.setdefault(job.key, _Line(job))
        line.state, line.started = "running", time.monotonic()

    def epoch(self, job: Job, metrics: Mapping[str, Any]) -> None:
        """A job finished an epoch."""
        line = self._lines[job.key]
        line.metrics, line.seconds = metrics, time.monotonic() - line.started
        if line.first_epoch is None:
            line.first_epoch = int(metrics["epoch"])

    def finish(self, job: Job, result: Result) -> None:
        """A job's result is in the store."""
        line = self._lines.get(job.key)
        if line is not None:  # else the store had it when the study began
            line.seconds = time.monotonic() - line.started if line.state == "running" else 0.0
            line.state = "done"
            line.metrics = {**line.metrics, **result.metrics}

    def fail(self, job: Job, reason: str) -> None:
        """A job failed."""
        line = self._lines.setdefault(job.key, _Line(job))
        line.state = "failed"
        self._live.console.print(f"{job.label}: {reason}", style="red", highlight=False, markup=False)

    def stop(self, job: Job) -> None:
        """A job was stopped early."""
        self._lines.setdefault(job.key, _Line(job)).state = "pruned"

    def _render(self) -> Table:
        # Copied, for a search adds lines while the thread that draws is here.
        lines = list(self._lines.values())
        done = sum(line.state == "done" for line in lines)
        elapsed = time.monotonic() - self._began
        pruned = sum(line.state == "pruned" for line in lines)
        stopped = f", {pruned} pruned" if pruned else ""
        title = f"{done} of {len(lines)} stages done{stopped}, {_clock(elapsed)} elapsed{self._forecast(lines)}"
        table = Table(
            title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
        )
        for name in ("", "stage", "epoch", "loss", "CA %", "ASR %", "left"):
            table.add_column(name, justify="left" if name in ("", "stage") else "right", no_wrap=True)
        for line in _shown(lines):
            table.add_row(*_cells(line), style=STYLES.get(line.state))
        return table

    def _forecast(self, lines: list[_Line]) -> str:
        """Time left, by the images that the slots passed through the model in the time that they were busy."""
        done = sum(line.job.images * _share(line) for line in lines)
        left = sum(line.job.images * (1 - _share(line)) for line in lines)
        slots = max(self._slots, sum(line.state == "running" for line in lines))  # a cluster may have grown
        busy = sum(line.seconds for line in lines if line.state in ("running", "done"))
        return f", about {_clock(busy * left / done / slots)} left" if done and left else ""


class PlainLines:
    """One line for each event; for logs and pipes."""

    def __init__(self, console: Console, missing: list[Job]) -> None:
        self._console, self._ended = console, 0
        self._keys = {job.key for job in missing}
        """Jobs to compute; a search adds some."""
        self._epochs: dict[str, int] = {}
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def start(self, job: Job) -> None:
        """A job was handed to a worker."""
        self._keys.add(job.key)
        self._say(f"{job.label}: started")

    def epoch(self, job: Job, metrics: Mapping[str, Any]) -> None:
        """A job finished an epoch."""
        self._epochs[job.key] = int(metrics["epoch"])
        self._say(f"{job.label}: epoch {int(metrics['epoch'])}/{job.epochs} {_numbers(metrics)}")

    def finish(self, job: Job, result: Result) -> None:
        """A job's result is in the store."""
        if job.key not in self._keys:  # it was there when the study began
            return
        self._ended += 1
        numbers = f" {_numbers(result.metrics)}" if result.metrics else ""
        self._say(f"{job.label}: done{numbers} ({self._ended} of {len(self._keys)} stages)")

    def fail(self, job: Job, reason: str) -> None:
        """A job failed."""
        self._keys.add(job.key)
        self._ended += 1
        self._say(f"{job.label}: FAILED: {reason}")

    def stop(self, job: Job) -> None:
        """A job was stopped early."""
        self._ended += 1
        self._say(f"{job.label}: pruned after epoch {self._epochs.get(job.key, 0)}/{job.epochs}")

    def _say(self, text: str) -> None:
        clock = _clock(time.monotonic() - self._began)
        self._console.print(f"[{clock}] {text}", highlight=False, markup=False, soft_wrap=True)


def _shown(lines: list[_Line]) -> list[_Line]:
    """All lines if they fit, else the running ones after those that ended last."""
    if len(lines) <= MAX_ROWS:
        return lines
    running = [line for line in lines if line.state == "running"]
    ended = [line for line in lines if line.state in ENDED]
    return [*ended[len(running) - MAX_ROWS :], *running] if len(running) < MAX_ROWS else running[:MAX_ROWS]


def _cells(line: _Line) -> list[str]:
    epoch = f"{int(line.metrics['epoch'])}/{line.job.epochs}" if "epoch" in line.metrics else f"-/{line.job.epochs}"
    left = line.left()
    state = {"running": _clock(left) if left is not None else "…", "done": _clock(line.seconds)}.get(
        line.state, line.state
    )
    values = [_value(line.metrics, "loss", 1, 3), _value(line.metrics, CA, 100, 1), _value(line.metrics, ASR, 100, 1)]
    return [f"{MARKS.get(line.state, ' ')} {line.job.label}", line.job.stage.name, epoch, *values, state]


def _numbers(metrics: Mapping[str, Any]) -> str:
    parts = [("loss", "loss", 1, 3), ("CA", CA, 100, 1), ("ASR", ASR, 100, 1)]
    return " ".join(
        f"{label} {_value(metrics, name, scale, digits)}" for label, name, scale, digits in parts if name in metrics
    )


def _value(metrics: Mapping[str, Any], name: str, scale: float, digits: int) -> str:
    return f"{metrics[name] * scale:.{digits}f}" if name in metrics else "–"


def _share(line: _Line) -> float:
    """Part of a job that is done."""
    if line.state in ENDED:
        return 1.0
    return int(line.metrics.get("epoch", 0)) / max(1, line.job.epochs)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
