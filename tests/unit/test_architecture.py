"""Rules of the architecture that import-linter cannot see. Its own contracts are in pyproject.toml."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bdray

PACKAGE = Path(bdray.__file__).parent


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("library", "home"), [("ray.tune", "study"), ("ray.train", "training/trainer.py")])
def test_each_part_of_ray_has_one_home(library: str, home: str) -> None:
    users = [
        path for path in PACKAGE.rglob("*.py") if any(f"{name}.".startswith(f"{library}.") for name in imports(path))
    ]
    # There are users, or the rule has lost its meaning, and all of them are at home.
    assert users
    assert [path for path in users if not path.is_relative_to(PACKAGE / home)] == []


def test_a_study_is_read_without_what_runs_it() -> None:
    heavy = {"matplotlib", "mlflow", "open_clip", "optuna", "ray", "torch", "torchvision"}
    code = f"import sys, bdray.study.spec; print(*({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Components import their libraries where they use them, so that a mistake in a YAML file shows after a second.
    assert done.stdout.split() == []
