"""What a run has computed so far."""

import time
from dataclasses import dataclass, field


@dataclass
class Meter:
    """Adds up the time that jobs take, from the moment they are handed to a worker, whatever comes of them."""

    rate: float = 1.0
    """What a job takes of the cluster unless it says otherwise: so many slots, or GPUs."""
    unit: str = "slot"
    """What is counted: ``slot`` or ``GPU``."""
    _ended: float = 0.0
    _running: dict[str, tuple[float, float]] = field(default_factory=dict)
    """When each began, and its rate."""

    def start(self, key: str, rate: float | None = None) -> None:
        """A job was handed to a worker, or to several, of which it takes so much."""
        self._running[key] = time.monotonic(), self.rate if rate is None else rate

    def stop(self, key: str) -> None:
        """A job ended."""
        began, rate = self._running.pop(key)
        self._ended += rate * (time.monotonic() - began)

    @property
    def seconds(self) -> float:
        """Slot-seconds or GPU-seconds, those of unfinished jobs included."""
        now = time.monotonic()
        return self._ended + sum(rate * (now - began) for began, rate in [*self._running.values()])
