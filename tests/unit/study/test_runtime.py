"""How many trials run at once, as far as that is known beforehand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bdray.study.__main__ import main
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
