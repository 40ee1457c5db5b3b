"""The state of an unfinished training, so that it can go on exactly where it was."""

import json
import logging
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

_log = logging.getLogger(__name__)

History = list[dict[str, float]]
"""One entry of metrics for each finished epoch."""


@dataclass(frozen=True)
class Unfinished:
    """The first steps of an epoch."""

    step: int
    """The next one."""
    sums: Mapping[str, Tensor]
    """Of each loss over the steps that had it."""
    counts: Mapping[str, int]
    """Of these steps."""
    seconds: float
    """What they took."""


@dataclass(frozen=True)
class Position:
    """How far a training has come."""

    history: History = field(default_factory=list)
    unfinished: Unfinished | None = None


class Copies(Protocol):
    """Where states are kept besides, for another machine to go on with."""

    def put(self, path: Path) -> None:
        """Keep a copy of a local file, in the place of an older one."""
        ...

    def get(self, path: Path) -> None:
        """Let the local file be the latest copy, whoever made it; if there is none, let there be no file."""
        ...


@dataclass(frozen=True)
class Checkpointer:
    """Keeps the latest state of one training in a folder.

    Batches and learning rates are functions of the step alone, so model, optimizer and step are the whole state,
    together with what the objective and the loss's scaler remember, if they do. Several processes may compute the same
    stage in the same folder: each goes on from whatever whole state it finds.
    """

    folder: Path
    copies: Copies | None = None
    """Of a folder that only this machine sees."""
    alone: bool = True
    """Whether one process trains. It may be ahead of its copy, and goes on from there; a group must agree on one state,
    which is the copy."""

    @property
    def path(self) -> Path:
        """The one file of the state; it is replaced atomically."""
        return self.folder / "checkpoint.safetensors"

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        history: History,
        objective: nn.Module | None = None,
        *,
        unfinished: Unfinished | None = None,
        scaler: "torch.amp.GradScaler | None" = None,
    ) -> None:
        """Write the state.

        Args:
            model: What is trained.
            optimizer: Its optimizer.
            history: Of the finished epochs.
            objective: One with a state of its own.
            unfinished: Steps since then.
            scaler: Of the loss; may be off.
        """
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        if objective is not None:
            tensors |= {f"objective.{name}": value for name, value in objective.state_dict().items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        metadata = {"history": json.dumps(history), "scaler": json.dumps(scaler.state_dict() if scaler else {})}
        if unfinished is not None:
            tensors |= {f"sum.{name}": value for name, value in unfinished.sums.items()}
            numbers = {"step": unfinished.step, "counts": unfinished.counts, "seconds": unfinished.seconds}
            metadata["unfinished"] = json.dumps(numbers)
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        try:
            self._write(tensors, metadata)
        except (FileNotFoundError, SafetensorError):  # another process finished the stage and cleared the folder
            self._write(tensors, metadata)
        if self.copies is not None:
            self.copies.put(self.path)

    def _write(self, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{uuid.uuid4().hex}.partial"
        save_file(tensors, partial, metadata=metadata)
        os.replace(partial, self.path)

    def _fetch(self, copies: Copies) -> None:
        """Let the file be the latest copy, unless this process alone got further, as while the store was away."""
        own = self.path.with_suffix(f".{uuid.uuid4().hex}")
        if self.alone and self.path.exists():
            shutil.copyfile(self.path, own)
        copies.get(self.path)
        if own.exists():
            if _progress(own) > _progress(self.path):
                os.replace(own, self.path)
            own.unlink(missing_ok=True)

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer, objective: nn.Module | None = None) -> History:
        """As :meth:`resume`, for trainings whose states are all of whole epochs: their history."""
        return self.resume(model, optimizer, objective).history

    def resume(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: nn.Module | None = None,
        *,
        scaler: "torch.amp.GradScaler | None" = None,
    ) -> Position:
        """Restore the latest state in place and say how far it is; the very beginning if there is none."""
        if self.copies is not None:
            self._fetch(self.copies)
        try:
            tensors, metadata = _read(self.path)
            position = _position(tensors, metadata)
            scale = json.loads(metadata.get("scaler", "{}"))
        except FileNotFoundError:
            return Position()
        except (SafetensorError, ValueError, KeyError) as error:
            _log.warning("%s is damaged (%s); the training starts afresh.", self.path, error)
            return Position()
        model.load_state_dict(_part(tensors, "model."))
        if objective is not None:
            objective.load_state_dict(_part(tensors, "objective."))
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimizer.").items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = _laid_out_like(parameters[int(index)], value)
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        if scaler is not None and scale:
            scaler.load_state_dict(scale)
        return position


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """An optimizer's state with its parameter's strides.

    The file is contiguous, a parameter may be channels-last, and fused AdamW walks memory without a look at strides.
    """
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of one state: in one go, for the file may be replaced at any moment."""
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
    return tensors, metadata


def _progress(path: Path) -> tuple[int, int]:
    """Epochs and further steps that a state has behind it; less than none if there is none to go on from."""
    try:
        position = _position(*_read(path))
    except (FileNotFoundError, SafetensorError, ValueError, KeyError):
        return -1, 0
    return len(position.history), position.unfinished.step if position.unfinished else 0


def _position(tensors: dict[str, Tensor], metadata: dict[str, str]) -> Position:
    history: History = list(json.loads(metadata["history"]))
    if "unfinished" not in metadata:
        return Position(history)
    numbers: dict[str, Any] = json.loads(metadata["unfinished"])
    return Position(history, Unfinished(sums=_part(tensors, "sum."), **numbers))
