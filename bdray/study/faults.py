"""What an error of a trial that nobody foresaw means: whether another try may succeed, and what to say of it."""

import re

from bdray.exceptions import DISK_FULL, LostResultError
from bdray.tracking.content import one_line

PROCESS_LOST = re.compile(
    r"CUDA error|CUDNN_STATUS_|CUBLAS_STATUS_|NCCL error|gloo/transport|Connection (closed|reset) by peer"
    r"|DataLoader worker \(pid"
)
"""PyTorch's words for a GPU that serves this process no more, for another worker of the group that does not answer, and
for a helper process that was killed."""
NO_MEMORY = re.compile(r"out of memory|can't allocate memory|Cannot allocate memory", re.IGNORECASE)
NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded")


def needs_new_process(error: Exception) -> bool:
    """Whether the process is to blame rather than the trial.

    After most errors of CUDA every call of the same process fails, so that the next trials of its slot would fail,
    too. A lack of memory that PyTorch itself reports leaves the process sound, and would come again.
    """
    return isinstance(error, RuntimeError) and PROCESS_LOST.search(str(error)) is not None


def may_pass_in_a_group(error: Exception) -> bool:
    """Whether workers that share a training may succeed when they are started again.

    Also after a result in the store turned out to be damaged: a group does not repair it, but then all find it missing.
    """
    return isinstance(error, LostResultError) or needs_new_process(error)


def reason(error: Exception) -> str:
    """An error in one line, with what helps where that is known."""
    said = one_line(error)
    named = f"{type(error).__name__}: {said}".rstrip(": ")
    if isinstance(error, MemoryError) or NO_MEMORY.search(said):
        return (
            f"out of memory ({named}). training.gradient_checkpointing=true, a small training.micro_batch and more "
            "training.num_workers need less and train the same model; a smaller batch_size trains another one."
        )
    if getattr(error, "errno", None) in DISK_FULL or NO_ROOM.search(said):
        return f"no room on the disk ({named}). Make room, and run the same command again."
    return named
