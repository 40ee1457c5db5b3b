"""What errors of PyTorch, NumPy and the operating system mean for a trial; all but those of a GPU are real ones."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from bdray.exceptions import TrainingError
from bdray.study import faults


class Killed(Dataset[int]):
    """Kills whatever process reads it."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return index


class Broken(Killed):
    """Has a bug."""

    def __getitem__(self, index: int) -> int:
        raise RuntimeError("a bug")


def raised(action: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what the tests are about
        action()
    assert isinstance(caught.value, Exception)
    return caught.value


def load(data: Dataset[int]) -> list[int]:
    return list(DataLoader(data, num_workers=1, multiprocessing_context="fork"))


def test_a_process_that_lost_its_helper_is_not_the_trials_fault() -> None:
    killed, broken = raised(lambda: load(Killed())), raised(lambda: load(Broken()))
    assert faults.needs_new_process(killed)
    # A bug in the helper would come again.
    assert not faults.needs_new_process(broken)
    assert "DataLoader worker (pid" in faults.reason(killed)


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be …"),
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ],
    ids=str,
)
def test_a_gpu_that_serves_the_process_no_more_is_not_the_trials_fault(error: RuntimeError) -> None:
    assert faults.needs_new_process(error)
    assert "\n" not in faults.reason(error)


@pytest.mark.parametrize(
    "error",
    [
        raised(lambda: torch.empty(1 << 50)),
        raised(lambda: np.empty(1 << 58)),
        raised(lambda: bytearray(1 << 60)),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8 GiB"),
    ],
    ids=["torch", "numpy", "python", "gpu"],
)
def test_a_lack_of_memory_would_come_again(error: Exception) -> None:
    assert not faults.needs_new_process(error)
    said = faults.reason(error)
    # The type, what it says, and what helps without another result; a smaller batch gives another one.
    assert said.startswith(f"out of memory ({type(error).__name__}")
    assert "training.gradient_checkpointing=true" in said
    assert "training.micro_batch" in said


def test_a_full_disk_would_come_again() -> None:
    def write() -> None:
        with Path("/dev/full").open("w") as file:
            file.write("x")

    error = raised(write)
    assert not faults.needs_new_process(error)
    assert faults.reason(error) == (
        "no room on the disk (OSError: [Errno 28] No space left on device). Make room, and run the same command again."
    )


def test_other_errors_are_named() -> None:
    assert faults.reason(ValueError("two\nlines")) == "ValueError: two lines"
    assert faults.reason(KeyError()) == "KeyError"
    # Not by chance: a message of ours about a GPU is ours.
    assert not faults.needs_new_process(TrainingError("CUDA error"))
