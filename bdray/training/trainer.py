"""Ray Train: several workers that share one training. The only user of ``ray.train``."""

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE

from bdray.exceptions import TrainingError


def launch(
    work: Callable[[dict[str, Any]], None],
    told: dict[str, Any],
    *,
    name: str,
    folder: Path,
    num_workers: int,
    cpus_per_worker: float = 1,
    gpus_per_worker: float = 0,
    across_nodes: bool = False,
    max_retries: int,
    may_pass: Callable[[Exception], bool],
    callbacks: Sequence[UserCallback] = (),
) -> None:
    """Run ``work(told)`` on a group of workers in one process group (gloo on CPUs, NCCL on GPUs) and wait for it.

    When a worker dies, or fails in a way that may pass, the group is started again; the training loop then continues
    from its own checkpoint. That is also why the run's name is new every time: Ray Train's memory of earlier runs is
    not used, nor are its own retries, which it makes whatever the error is.

    Raises:
        TrainingError: If the workers failed more often than ``max_retries``.
        Exception: What a worker raised, if that would come again.
    """
    scaling = ScalingConfig(
        num_workers=num_workers,
        use_gpu=gpus_per_worker > 0,
        resources_per_worker={"CPU": cpus_per_worker} | ({"GPU": gpus_per_worker} if gpus_per_worker else {}),
        placement_strategy="PACK" if across_nodes else "STRICT_PACK",
    )
    for tries_left in range(max_retries, -1, -1):
        trainer = TorchTrainer(
            work,
            train_loop_config=told,
            torch_config=TorchConfig(backend="nccl" if gpus_per_worker else "gloo"),
            scaling_config=scaling,
            run_config=RunConfig(
                name=f"{name}-{uuid.uuid4().hex[:8]}",
                storage_path=str(folder),
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=3),  # type: ignore[call-arg]
                callbacks=list(callbacks),  # type: ignore[arg-type]
            ),
        )
        try:
            with _address_told():
                trainer.fit()
        except ray.train.TrainingFailedError as error:
            lasting = lasting_error(error, may_pass)
            if lasting is not None:
                raise lasting from error
            if not tries_left or not isinstance(error, ray.train.WorkerGroupError):
                raise TrainingError(f"the Ray Train workers failed: {_last_line(error)}") from error
        else:
            return


@contextmanager
def _address_told() -> Iterator[None]:
    """Let the processes of Ray Train know their cluster.

    The one that frees the places of a group whose node died looks for it by itself, and fails where a machine has
    several: the places stay taken, and the next group waits for them without an end.
    """
    before = os.environ.get("RAY_ADDRESS")
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    ENV_VARS_TO_PROPAGATE.add("RAY_ADDRESS")
    try:
        yield
    finally:
        del os.environ["RAY_ADDRESS"]
        if before is not None:
            os.environ["RAY_ADDRESS"] = before


def lasting_error(error: Exception, may_pass: Callable[[Exception], bool]) -> Exception | None:
    """What a worker raised that would come again; None if all of it may pass, or the workers just died."""
    failures = error.worker_failures.values() if isinstance(error, ray.train.WorkerGroupError) else ()
    # Of a worker that died, or does not answer, Ray tells by an error of its own.
    raised = [failure for failure in failures if not type(failure).__module__.startswith("ray.")]
    return next((each for each in raised if not may_pass(each)), None)


def report(metrics: dict[str, Any]) -> None:
    """Pass on metrics from a worker; every worker has to call it."""
    ray.train.report(metrics)


def rank_and_size() -> tuple[int, int]:
    """This worker's place in its group, and the size of the group."""
    context = ray.train.get_context()
    return context.get_world_rank(), context.get_world_size()


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
