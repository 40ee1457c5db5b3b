"""How many trials run at once, as far as that is known beforehand."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bdray.exceptions import ClusterError
from bdray.study.__main__ import main
from bdray.study.cluster import Slots
from bdray.study.runtime import Launch, Runtime

Gpus = Callable[[int], None]


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """Puts a driver's tool into the path that lists so many GPUs, the first with a part of its own."""

    def put(count: int) -> None:
        folder = tmp_path / f"driver-{count}"
        folder.mkdir()
        lines = [f"GPU {number}: NVIDIA H200 (UUID: GPU-{number})" for number in range(count)]
        lines.insert(1, "  MIG 1g.18gb Device 0: (UUID: MIG-0)")
        tool = folder / "nvidia-smi"
        tool.write_text("\n".join(["#!/bin/sh", *(f"echo '{line}'" for line in lines), ""]), encoding="utf-8")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return put


def slots(address: str | None = None, **training: float) -> int | None:
    return Runtime(cpus=8, address=address, training=Launch(**training)).local_slots  # type: ignore[arg-type]


def fit(*nodes: tuple[float, float], **training: Any) -> int:
    """How many trials fit on nodes with so many CPUs and GPUs each."""
    return Launch(**training).fit(nodes)


def test_a_trial_fits_on_a_node_or_not_at_all() -> None:
    # Two nodes of three CPUs have six, but room for two trials of two.
    assert fit((3, 0), (3, 0), cpus_per_worker=2) == 2
    # CPUs of nodes without a GPU are of no use to trials that need one, and GPUs without enough CPUs neither.
    assert fit((64, 0), (8, 4), (2, 4), gpus_per_worker=1, cpus_per_worker=4) == 2
    # What is left of two GPUs after one trial of 0.6 each is no GPU for a third.
    assert fit((8, 2), gpus_per_worker=0.6) == 2
    assert fit((8, 2), gpus_per_worker=0.4) == 4
    assert fit() == 0


def test_workers_of_a_trial_stay_on_one_node_unless_told_otherwise() -> None:
    nodes = [(9.0, 4.0), (9.0, 4.0)]
    assert fit(*nodes, num_workers=4, gpus_per_worker=1) == 2
    # A trial of three leaves a GPU on each node, which together would be half of another one.
    assert fit(*nodes, num_workers=3, gpus_per_worker=1) == 2
    assert fit(*nodes, num_workers=8, gpus_per_worker=1) == 0
    assert fit(*nodes, num_workers=8, gpus_per_worker=1, across_nodes=True) == 1
    # The trial itself, which waits for its workers, needs a little, too.
    assert fit((2, 0), num_workers=2) == 0
    assert fit((3, 0), num_workers=2) == 1


class Nodes:
    """What Ray would tell of a cluster's nodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cpus: Sequence[float] = []
        self.now = 0.0
        monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": cpus}} for cpus in self.cpus])
        monkeypatch.setattr("time.monotonic", lambda: self.now)


def test_slots_follow_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes(monkeypatch)
    with pytest.raises(ClusterError, match=r"the cluster's nodes have nothing\. .* slots=NUMBER"):
        Slots(Runtime(address="auto"))
    nodes.cpus = [2]
    slots = Slots(Runtime(address="auto"))
    counts = []
    for cpus in ([2, 2], [2, 2], [2], []):
        nodes.cpus, nodes.now = cpus, nodes.now + 3
        counts.append(slots.count())
    # It looks every five seconds, and keeps one slot for a node that may come back.
    assert counts == [2, 4, 4, 1]


def test_slots_that_were_asked_for_do_not_wait_for_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes(monkeypatch)
    assert Slots(Runtime(address="auto", slots=8)).count() == 8
    # On this machine they are a limit, for nothing adds to it.
    nodes.cpus = [4]
    assert [Slots(Runtime(slots=count)).count() for count in (2, 8)] == [2, 4]
    nodes.cpus = []
    with pytest.raises(ClusterError, match="but this machine has nothing"):
        Slots(Runtime(slots=2))
    assert [Runtime(cpus=4, slots=count).local_slots for count in (2, 8)] == [2, 4]


def test_processors_are_shared_by_trials() -> None:
    assert [slots(), slots(cpus_per_worker=3), slots(num_workers=4), slots(cpus_per_worker=0.1)] == [8, 2, 2, 80]
    # One trial needs more than there is, and what a cluster has it tells when it answers.
    assert [slots(num_workers=9), slots(address="auto")] == [None, None]
    assert Runtime(cpus=8, address="auto").expected_slots == 1


def test_gpus_are_shared_by_trials(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(4)
    # Eight CPUs are there, but four GPUs only.
    assert [slots(gpus_per_worker=1), slots(gpus_per_worker=1, num_workers=2), slots(gpus_per_worker=0.5)] == [4, 2, 8]
    assert slots(gpus_per_worker=0.1) == 8
    assert slots(gpus_per_worker=1, num_workers=5) is None
    for visible, found in (("0,2", 2), ("3", 1), ("0,1,2,3,4,5", 4), ("", None)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert slots(gpus_per_worker=1) == found


def test_without_gpus_a_plan_gives_their_hours_only(
    gpus: Gpus, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus(0)
    words = ["some/grid", "training.gpus_per_worker=1", "--dry-run"]
    assert main(words) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "of GPU time; how long depends on the cluster" in shown
    assert "slots" not in shown
    gpus(2)
    # An experiment this small is done at once.
    assert main(words) == 0
    assert "to compute: under a minute" in " ".join(capsys.readouterr().out.split())
