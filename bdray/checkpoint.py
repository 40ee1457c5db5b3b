"""The state of an unfinished training, so that it can go on exactly where it was."""

import json
import logging
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

_log = logging.getLogger(__name__)

History = list[dict[str, float]]
"""One entry of metrics for each finished epoch."""


@dataclass(frozen=True)
class Checkpointer:
    """Keeps the latest state of one training in a folder.

    Batches and learning rates are functions of the step alone, so model, optimizer and epoch are the whole state,
    together with what the objective remembers, if it does. Several processes may compute the same stage in the same
    folder: each goes on from whatever whole state it finds.
    """

    folder: Path

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
    ) -> None:
        """Write the state after ``len(history)`` epochs; ``objective`` is one with a state of its own."""
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        if objective is not None:
            tensors |= {f"objective.{name}": value for name, value in objective.state_dict().items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        try:
            self._write(tensors, history)
        except (FileNotFoundError, SafetensorError):  # another process finished the stage and cleared the folder
            self._write(tensors, history)

    def _write(self, tensors: dict[str, Tensor], history: History) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{uuid.uuid4().hex}.partial"
        save_file(tensors, partial, metadata={"history": json.dumps(history)})
        os.replace(partial, self.path)

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer, objective: nn.Module | None = None) -> History:
        """Restore the latest state in place and return its history; an empty history if there is none."""
        try:
            tensors, history = _read(self.path)
        except FileNotFoundError:
            return []
        except (SafetensorError, ValueError, KeyError) as error:
            _log.warning("%s is damaged (%s); the training starts afresh.", self.path, error)
            return []
        model.load_state_dict(_part(tensors, "model."))
        if objective is not None:
            objective.load_state_dict(_part(tensors, "objective."))
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimizer.").items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = _laid_out_like(parameters[int(index)], value)
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        return history


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """An optimizer's state with its parameter's strides.

    The file is contiguous, a parameter may be channels-last, and fused AdamW walks memory without a look at strides.
    """
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _read(path: Path) -> tuple[dict[str, Tensor], History]:
    """Tensors and history of one state: in one go, for the file may be replaced at any moment."""
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, Any] = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
    history: Sequence[dict[str, float]] = json.loads(metadata["history"])
    return tensors, list(history)
