"""The state of an unfinished training on disk, which others may replace or remove at any moment."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bdray.checkpoint import Checkpointer, Position, Unfinished

History = list[dict[str, float]]


def state(value: float) -> tuple[nn.Linear, torch.optim.AdamW]:
    """A model whose weights all have one value, after one step."""
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model, optimizer


def test_a_state_comes_back(tmp_path: Path) -> None:
    checkpointer, history = Checkpointer(tmp_path / "new" / "folder"), [{"epoch": 1.0, "loss": 0.1}]
    checkpointer.save(*state(3.0), history)
    model, optimizer = state(0.0)
    # Weights, optimizer and history, and nothing else in the folder.
    assert checkpointer.load(model, optimizer) == history
    assert model.weight.flatten().tolist() == [3.0] * 4
    assert optimizer.state_dict()["state"][0]["step"] == 1
    assert list(checkpointer.folder.iterdir()) == [checkpointer.path]


def test_what_an_objective_remembers_comes_back(tmp_path: Path) -> None:
    checkpointer, history = Checkpointer(tmp_path), [{"epoch": 1.0}]
    kept, found = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    kept(torch.randn(4, 2))
    checkpointer.save(*state(3.0), history, kept)
    model, optimizer = state(0.0)
    # Beside the model, and not mixed up with it.
    assert checkpointer.load(model, optimizer, found) == history
    assert model.weight.flatten().tolist() == [3.0] * 4
    assert all(torch.equal(found.state_dict()[name], value) for name, value in kept.state_dict().items())
    assert found.num_batches_tracked == 1


def test_without_a_state_there_is_no_history(tmp_path: Path) -> None:
    assert Checkpointer(tmp_path / "none").load(*state(0.0)) == []


class Shelf:
    """A folder that all machines see."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def put(self, path: Path) -> None:
        shutil.copy(path, self._folder)

    def get(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        if (kept := self._folder / path.name).exists():
            path.parent.mkdir(exist_ok=True)
            shutil.copy(kept, path)


def test_another_machine_goes_on_from_the_copy(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    here, there = (Checkpointer(tmp_path / name, shelf) for name in ("here", "there"))
    assert there.load(*state(0.0)) == []
    here.save(*state(3.0), [{"epoch": 1.0}])
    model, optimizer = state(0.0)
    assert there.load(model, optimizer) == [{"epoch": 1.0}]
    there.save(model, optimizer, [{"epoch": 1.0}, {"epoch": 2.0}])
    # Back on the first machine, whose own file is older.
    assert len(here.load(*state(0.0))) == 2
    assert model.weight.flatten().tolist() == [3.0] * 4


def test_one_process_is_not_set_back_by_an_older_copy_or_none(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    kept, ahead = Checkpointer(tmp_path / "here", shelf), Checkpointer(tmp_path / "here")
    # The store was away since: what came later is on this machine only.
    ahead.save(*state(3.0), [{"epoch": 1.0}])
    assert len(kept.load(*state(0.0))) == 1
    kept.save(*state(3.0), [{"epoch": 1.0}])
    ahead.save(*state(3.0), [{"epoch": 1.0}], unfinished=Unfinished(2, {}, {}, 1.0))
    assert kept.resume(*state(0.0)).unfinished is not None
    assert list(kept.folder.iterdir()) == [kept.path]
    # The workers of a group, on other machines, have only the copy.
    group = Checkpointer(tmp_path / "here", shelf, alone=False)
    assert group.resume(*state(0.0)) == Position([{"epoch": 1.0}])


def test_the_folder_may_vanish_while_a_state_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpointer, replace = Checkpointer(tmp_path / "folder"), os.replace
    cleared: list[Path] = []

    def clear_first(*arguments: Any) -> None:
        if not cleared:
            cleared.append(checkpointer.folder)
            shutil.rmtree(checkpointer.folder)
        replace(*arguments)

    monkeypatch.setattr(os, "replace", clear_first)
    checkpointer.save(*state(3.0), [{"epoch": 1.0}])
    # Another process had finished the same stage: no reason to fail.
    assert cleared
    assert checkpointer.load(*state(0.0)) == [{"epoch": 1.0}]


@pytest.mark.parametrize("content", [b"", b"damaged", bytes(100)])
def test_a_damaged_state_is_none(tmp_path: Path, content: bytes) -> None:
    checkpointer = Checkpointer(tmp_path)
    checkpointer.path.write_bytes(content)
    # After a loss of power, say: the training starts afresh rather than never again.
    assert checkpointer.load(*state(0.0)) == []
