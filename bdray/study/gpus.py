"""The GPUs of this machine, counted without starting Ray or torch."""

import os
import shutil
import subprocess
from functools import cache

ASKING_SECONDS = 10
NOBODY = ("", "NoDevFiles")
"""Values of ``CUDA_VISIBLE_DEVICES`` that hide all GPUs, as Ray reads it."""


def count_gpus() -> int:
    """NVIDIA GPUs that a local Ray would find: those of the driver, as far as ``CUDA_VISIBLE_DEVICES`` shows them."""
    command = shutil.which("nvidia-smi")
    found = _listed(command) if command else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    return 0 if visible in NOBODY else min(found, len(visible.split(",")))


@cache
def _listed(command: str) -> int:
    """Lines for GPUs, among those of their parts."""
    try:
        said = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=ASKING_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):  # tools without a driver
        return 0
    return sum(line.startswith("GPU ") for line in said.stdout.splitlines())
