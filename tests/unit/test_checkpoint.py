"""The state of an unfinished training on disk, which others may replace or remove at any moment."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bdray.checkpoint import Checkpointer

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
