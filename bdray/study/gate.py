"""The gate between two epochs: a worker asks it whether to go on, and the driver answers.

Nothing is killed, for that would leave Ray's reservations behind (see RAY.md): a training that is told to stop leaves
by itself, after its checkpoint was written. Only studies that stop points early have a gate.
"""

import time
import uuid
from functools import cache
from typing import Any

import ray
from ray.exceptions import RayActorError

PATIENCE_SECONDS = 60.0
"""How long a worker waits for an answer; then it goes on. Without Ray Train the answer is there when it asks."""
POLL_SECONDS = 0.05


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Leaves a training that the driver stopped early."""


class Gate:
    """The driver's end. The answers are with an actor that every worker can reach."""

    def __init__(self) -> None:
        self.name = f"bdray-gate-{uuid.uuid4().hex}"
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
        options = {"name": self.name, "num_cpus": 0, "scheduling_strategy": here}
        self._answers: Any = ray.remote(Answers).options(**options).remote()

    def open(self, key: str) -> None:
        """A job begins: what was said about it in an earlier attempt is over."""
        ray.get(self._answers.open.remote(key))

    def answer(self, key: str, epoch: int, stopped: list[str]) -> None:
        """An epoch of a job was judged.

        Args:
            key: The job.
            epoch: Number of the epoch.
            stopped: Jobs that are to stop because of it.
        """
        ray.get(self._answers.answer.remote(key, epoch, stopped))


class Answers:
    """What was said about which job."""

    def __init__(self) -> None:
        self._judged: dict[str, int] = {}
        self._stopped: set[str] = set()

    def open(self, key: str) -> None:
        """See :meth:`Gate.open`."""
        self._judged.pop(key, None)
        self._stopped.discard(key)

    def answer(self, key: str, epoch: int, stopped: list[str]) -> None:
        """See :meth:`Gate.answer`."""
        self._judged[key] = max(epoch, self._judged.get(key, 0))
        self._stopped.update(stopped)

    def ask(self, key: str, epoch: int) -> bool | None:
        """Whether a job is to stop; None while its epoch is not judged yet."""
        if key in self._stopped:
            return True
        return False if self._judged.get(key, 0) >= epoch else None


def is_told_to_stop(gate: str, key: str, epoch: int) -> bool:
    """Ask the gate of that name about a job that has just reported an epoch."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        try:
            answer = ray.get(_answers(gate).ask.remote(key, epoch))
        except RayActorError:  # its node is gone; so is the driver, or soon
            return False
        if answer is not None:
            return bool(answer)
        time.sleep(POLL_SECONDS)
    return False


@cache
def _answers(gate: str) -> Any:
    return ray.get_actor(gate)
