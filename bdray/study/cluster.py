"""Ray for the length of a study: a local one that is ours, or a cluster that is not."""

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from bdray.exceptions import ClusterError
from bdray.study.runtime import Runtime

OBJECT_STORE_BYTES = 200_000_000
"""Weights and pixels travel through files, so that Ray's shared memory stays nearly empty."""
KNOCK_SECONDS = 10
COUNT_SECONDS = 5.0
"""From one look at the cluster's nodes to the next."""
ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "2592000",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "600",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Less chatter and less waiting (see RAY.md's measurements); the store is our memory, not Tune's snapshots. A group of
workers waits for its turn as long as it takes, as any other trial does."""


class Slots:
    """How many trials may be open: as many as were asked for, else as many as fit, and nodes come and go."""

    def __init__(self, runtime: Runtime) -> None:
        """Count for the first time.

        Raises:
            ClusterError: If not even one trial fits, and nobody said that the cluster would grow.
        """
        self._launch, self._asked = runtime.training, runtime.slots
        self._grows = runtime.address is not None
        self._count, self._next = self._fit(), time.monotonic() + COUNT_SECONDS
        if not self._count and not (self._asked and self._grows):
            raise ClusterError(_too_small(runtime))

    def count(self) -> int:
        """The number now; one at least, for a node that was lost may come back."""
        if self._asked:
            return self._asked if self._grows else min(self._asked, self._count)
        if time.monotonic() >= self._next:
            self._count, self._next = self._fit(), time.monotonic() + COUNT_SECONDS
        return max(1, self._count)

    def _fit(self) -> int:
        return self._launch.fit(_nodes())


@contextmanager
def cluster(runtime: Runtime) -> Iterator[Slots]:
    """Connect to Ray and yield the count of trials that may be open at once.

    Raises:
        ClusterError: If there is no cluster at the address, or not even one trial fits.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray").setLevel(logging.ERROR)
    was_running = ray.is_initialized()
    try:
        if not was_running:
            _connect(runtime)
        yield Slots(runtime)
    finally:
        if not was_running:
            ray.shutdown()


def _nodes() -> list[tuple[float, float]]:
    """CPUs and GPUs of each node."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(resources.get("CPU", 0.0), resources.get("GPU", 0.0)) for resources in found]


def _too_small(runtime: Runtime) -> str:
    launch = runtime.training
    nodes = (
        ", ".join(f"{cpus:g} CPU and {gpus:g} GPU" for cpus, gpus in sorted(set(_nodes()), reverse=True)) or "nothing"
    )
    needs = f"{launch.num_workers} x ({launch.cpus_per_worker:g} CPU, {launch.gpus_per_worker:g} GPU)"
    advice = "Lower training.num_workers, training.cpus_per_worker or training.gpus_per_worker."
    if runtime.address is None:
        return f"training: one trial needs {needs}, but this machine has {nodes}. {advice}"
    if launch.num_workers > 1 and not launch.across_nodes:
        needs += " on one node"
        advice += " Or let a trial use several nodes: training.across_nodes=true."
    return (
        f"training: one trial needs {needs}, but the cluster's nodes have {nodes}. {advice} If an autoscaler adds the "
        "nodes, say how many trials to ask for: slots=NUMBER."
    )


def _connect(runtime: Runtime) -> None:
    if runtime.address is None:
        ray.init(
            address="local",
            num_cpus=runtime.local_cpus,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        return
    try:
        _knock(runtime.address)
        ray.init(
            address=runtime.address,
            runtime_env={"env_vars": ENVIRONMENT},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        raise ClusterError(
            f"--address {runtime.address}: no Ray cluster answers there ({' '.join(str(error).split())[:200]}). "
            "Start one with `ray start --head`, or leave --address out for a local one."
        ) from error


def _knock(address: str) -> None:
    """Raise OSError if nobody listens at ``HOST:PORT``; Ray itself would try for minutes, with a warning every 5 s."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():  # else ``auto`` or a mistake, both of which Ray judges at once
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()
