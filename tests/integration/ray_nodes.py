"""A Ray cluster as its machines start it: ``ray start`` in a process of its own for each node, with a token."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

TOKEN = "t0ken" * 8
MEMORY = 100_000_000
HEAD = "ray.head.default"
PORTS = ("dashboard-agent-listen", "dashboard-agent-grpc", "runtime-env-agent", "metrics-export")
"""Ports that ``ray start`` would not choose by itself, for several nodes of one machine."""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def family(pid: int) -> set[int]:
    """A process and all that it started, by the chain of parents."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def command(pid: int) -> str:
    """Its command line; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@dataclass
class Node:
    """``ray start --block`` and all that it started."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def trials(self) -> list[int]:
        """Its processes that train."""
        kinds = ("ray::ImplicitFunc", "ray::RayTrainWorker")
        return [pid for pid in family(self.process.pid) if command(pid).startswith(kinds)]

    def warn(self) -> None:
        """Tell it that it will be gone soon, as Kubernetes and SLURM do."""
        self.process.terminate()

    def kill(self) -> None:
        """Let it be gone at once, as a machine that loses its power."""
        for pid in family(self.process.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)

    def close(self) -> None:
        """End all of it that is left."""
        started = family(self.process.pid)
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        for pid in started:
            if pid == self.process.pid or "ray" in command(pid):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(30)


@dataclass
class Head:
    """The first node of a cluster, with its job server, and the others."""

    node: Node
    gcs: str
    """Address of Ray itself."""
    address: str
    """Of the job server."""
    environment: dict[str, str]
    """For its clients: the token."""
    folder: Path
    """Of Ray's logs."""
    nodes: list[Node] = field(default_factory=list)

    def ask(self, path: str) -> str:
        """What its server answers."""
        request = urllib.request.Request(f"{self.address}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())

    def jobs(self) -> str:
        """All that the server tells of its jobs."""
        return self.ask("/api/jobs/")

    def living(self) -> int:
        """Nodes that are there, the head included."""
        summary = json.loads(self.ask("/nodes?view=summary"))["data"]["summary"]
        return sum(node["raylet"].get("state") == "ALIVE" for node in summary)

    def until(self, count: int) -> None:
        """Wait for that many nodes."""
        end = time.monotonic() + 120
        while self.living() != count:
            assert time.monotonic() < end, [each.log.read_text() for each in (self.node, *self.nodes)]
            time.sleep(0.2)

    def join(self, cpus: int, **environment: str) -> Node:
        """Another machine joins."""
        words = ["--address", self.gcs, "--num-cpus", str(cpus)]
        node = _start(self.folder, self.environment | environment, words)
        self.nodes.append(node)
        end = time.monotonic() + 120
        while "Ray runtime started" not in node.log.read_text():
            assert node.process.poll() is None, node.log.read_text()
            assert time.monotonic() < end, node.log.read_text()
            time.sleep(0.2)
        return node

    def close(self) -> None:
        """End all nodes, the first one last."""
        for node in (*self.nodes, self.node):
            node.close()


@contextmanager
def ray_head(environment: Mapping[str, str], cpus: int, autoscaling: Mapping[str, Any] | None = None) -> Iterator[Head]:
    """A head with so many CPUs, for as long as the block runs.

    Args:
        environment: For its processes.
        cpus: For trials.
        autoscaling: Types of nodes that Ray's autoscaler may start, on this machine; None: there is no autoscaler.
    """
    variables = {**environment, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    gcs, dashboard, client = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="bdray-ray-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        words = ["--head", "--port", str(gcs), "--dashboard-port", str(dashboard), "--dashboard-host", "127.0.0.1"]
        words += ["--ray-client-server-port", str(client), "--num-cpus", str(cpus), "--temp-dir", name]
        if autoscaling is not None:
            (folder / "autoscaling.json").write_text(json.dumps(_autoscaling(autoscaling, f"127.0.0.1:{gcs}")))
            words += ["--autoscaling-config", str(folder / "autoscaling.json")]
            variables |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        node = _start(folder, variables, words)
        head = Head(node, f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}", variables, folder)
        try:
            _wait_until_it_answers(head)
            yield head
        finally:
            head.close()


def _start(folder: Path, environment: Mapping[str, str], words: list[str]) -> Node:
    binaries = Path(sys.executable).parent
    ports = [
        word for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True) for word in (f"--{name}-port", port)
    ]
    own = [
        "--min-worker-port",
        "0",
        "--max-worker-port",
        "0",
        "--node-ip-address",
        "127.0.0.1",
        "--disable-usage-stats",
    ]
    with tempfile.NamedTemporaryFile("wb", dir=folder, prefix="start-", delete=False) as log:
        process = subprocess.Popen(
            [
                binaries / "ray",
                "start",
                "--block",
                "--object-store-memory",
                str(MEMORY),
                *own,
                *map(str, ports),
                *words,
            ],
            env={**environment, "PATH": f"{binaries}{os.pathsep}{environment['PATH']}"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return Node(process, Path(log.name))


def _autoscaling(types: Mapping[str, Any], gcs: str) -> dict[str, Any]:
    """Settings of Ray's autoscaler with a provider whose machines are processes here."""
    empty: dict[str, Any] = {"auth": {}, "docker": {}, "file_mounts": {}}
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": "bdray",
        "max_workers": 8,
        "idle_timeout_minutes": 0.2,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": gcs,
            "launch_multiple": True,
            "use_node_id_as_ip": True,  # as all share one address
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}, **types},
        "head_node_type": HEAD,
        "cluster_synced_files": [],
        "rsync_exclude": [],
        **empty,
        **{f"{name}_commands": [] for name in commands},
    }


def _wait_until_it_answers(head: Head) -> None:
    end = time.monotonic() + 120
    while head.node.process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(urllib.error.URLError, OSError):
            head.jobs()
            return
        time.sleep(0.2)
    pytest.fail(f"the head does not answer: {head.node.log.read_text()}")
