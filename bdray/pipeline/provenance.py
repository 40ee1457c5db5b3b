"""What software made a result."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("bdray", "torch", "torchvision", "open_clip_torch", "ray", "optuna", "mlflow", "numpy")
COMMIT = "bdray-commit.txt"
"""File beside the package that says it where a job has the code, but not its history."""


@cache
def provenance() -> dict[str, Any]:
    """Commit and versions, as plain JSON."""
    return {"commit": commit(), "python": platform.python_version(), "versions": versions()}


@cache
def commit() -> str | None:
    """Git commit of the code, with ``+changes`` if the working tree differs; None outside of a checkout."""
    root = Path(__file__).parents[2]
    if (root / COMMIT).is_file():
        return (root / COMMIT).read_text(encoding="utf-8")
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty=+changes"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
