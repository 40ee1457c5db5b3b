"""Ray for the length of a study: a local one that is ours, or a cluster that is not."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from bdray.exceptions import ClusterError
from bdray.study.runtime import Runtime

WAITING_CPU = 0.01
"""What a trial reserves for itself while Ray Train's workers, which reserve their own, compute for it."""
OBJECT_STORE_BYTES = 200_000_000
"""Weights and pixels travel through files, so that Ray's shared memory stays nearly empty."""
KNOCK_SECONDS = 10
ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "600",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Less chatter and less waiting (see RAY.md's measurements); the store is our memory, not Tune's snapshots."""


@contextmanager
def cluster(runtime: Runtime) -> Iterator[int]:
    """Connect to Ray and yield how many trials fit at once.

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
        yield slots(runtime)
    finally:
        if not was_running:
            ray.shutdown()


def slots(runtime: Runtime) -> int:
    """How many trials fit into the cluster at once.

    Raises:
        ClusterError: If not even one fits.
    """
    launch, total = runtime.training, ray.cluster_resources()
    cpus = total.get("CPU", 0.0) / (launch.cpus_per_worker * launch.num_workers + WAITING_CPU * launch.nested)
    gpus = total.get("GPU", 0.0) / (launch.gpus_per_worker * launch.num_workers) if launch.gpus_per_worker else cpus
    fit = int(min(cpus, gpus) + 1e-9)
    if fit < 1:
        raise ClusterError(
            f"training: one trial needs {launch.num_workers} x ({launch.cpus_per_worker:g} CPU, "
            f"{launch.gpus_per_worker:g} GPU), but the cluster has {total.get('CPU', 0):g} CPU and "
            f"{total.get('GPU', 0):g} GPU. "
            "Lower training.num_workers, training.cpus_per_worker or training.gpus_per_worker."
        )
    return fit


def _connect(runtime: Runtime) -> None:
    if runtime.address is None:
        ray.init(
            address="local",
            num_cpus=(runtime.cpus or len(os.sched_getaffinity(0))) + runtime.training.nested,  # one to wait on
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
