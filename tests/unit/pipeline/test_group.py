"""Workers of one group agree on what the store holds, however late one of them asks."""

import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed
from torch.multiprocessing.spawn import spawn

from bdray import config
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages import Context
from bdray.pipeline.stages.base import Stage
from bdray.pipeline.store import Store

EXPERIMENT = {
    "data": {"type": "scenes", "num_train": 64},
    "attack": {"trigger": {"type": "badnet", "size": 6}, "num_poisoned": 8},
    "victim": {"recipe": {"epochs": 1, "batch_size": 32, "learning_rate": 1e-3}},
    "defense": None,
}


@dataclass(frozen=True)
class Alone(Stage):
    """Every worker computes all of it, as a learned trigger: nothing in it keeps them in step."""

    name: ClassVar[str] = "alone"

    def reads(self) -> dict[str, Any]:
        return {}

    def compute(self, context: Context, folder: Path) -> dict[str, Any]:
        (folder / "computed").touch()
        return {"metrics": {}}


def work(rank: int, folder: Path) -> None:
    """The second worker comes when the first one has saved its result, and both go on to work that they share."""
    meeting, patience = f"file://{folder / 'meeting'}", timedelta(seconds=60)
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=patience)
    store = Store(str(folder / "store"), folder / f"cache-{rank}")
    stage = Alone(config.build(Experiment, EXPERIMENT, "test"))
    end = time.monotonic() + 5
    while rank == 1 and store.find(stage.name, stage.key) is None and time.monotonic() < end:
        time.sleep(0.05)
    stage.result(Context(store, folder / f"cache-{rank}", rank=rank, world_size=2))
    shared = torch.tensor([rank + 1.0, 10.0])
    torch.distributed.all_reduce(shared)
    (folder / f"shared-{rank}").write_text(str(shared.tolist()), encoding="utf-8")
    # A second time it is there for both.
    assert stage.result(Context(store, folder / f"cache-{rank}", rank=rank, world_size=2))["metrics"] == {}
    torch.distributed.destroy_process_group()


def test_a_worker_that_comes_late_does_not_leave_the_first_one_alone(tmp_path: Path) -> None:
    spawn(work, (tmp_path,), nprocs=2)
    # The work that both share after it is of both, for both.
    assert [(tmp_path / f"shared-{rank}").read_text(encoding="utf-8") for rank in range(2)] == ["[3.0, 20.0]"] * 2
