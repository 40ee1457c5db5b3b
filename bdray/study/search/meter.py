"""What a run has computed so far."""

import time
from dataclasses import dataclass, field


@dataclass
class Meter:
    """Adds up the time that jobs take, from the moment they are handed to a worker, whatever comes of them."""

    rate: float = 1.0
    """What a job takes of the cluster: so many slots, or GPUs."""
    unit: str = "slot"
    """What is counted: ``slot`` or ``GPU``."""
    _ended: float = 0.0
    _running: dict[str, float] = field(default_factory=dict)
    """When each began."""

    def start(self, key: str) -> None:
        """A job was handed to a worker."""
        self._running[key] = time.monotonic()

    def stop(self, key: str) -> None:
        """A job ended."""
        self._ended += time.monotonic() - self._running.pop(key)

    @property
    def seconds(self) -> float:
        """Slot-seconds or GPU-seconds, those of unfinished jobs included."""
        now = time.monotonic()
        return self.rate * (self._ended + sum(now - began for began in [*self._running.values()]))
