"""Weights on disk: written as safetensors, and never unpickled when read."""

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bdray.exceptions import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn

ZIP = b"PK\x03\x04"
"""First bytes of a torch file."""


def save(tensors: "Mapping[str, Tensor]", path: Path) -> None:
    """Write tensors as safetensors."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def check(path: Path) -> None:
    """Refuse a file that cannot hold weights, by its first bytes and its length; nothing is loaded.

    Raises:
        CheckpointError: If the file is missing, truncated, or of another format.
    """
    try:
        with path.open("rb") as file:
            is_torch = file.read(4) == ZIP
        if is_torch:
            _check_torch(path)
        else:
            _check_safetensors(path)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}). Give the path of a file of weights."
        ) from error


def _check_torch(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{path}: the torch file is truncated. Copy it again.") from error
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(
            f"{path}: is a TorchScript archive, as OpenAI publishes CLIP, and holds code. Save its state_dict() as "
            "safetensors where you trust it."
        )


def _check_safetensors(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(9)  # the length of the header, then the header, a JSON object
        if len(head) < 9:
            raise CheckpointError(f"{path}: holds only {size} bytes, which is no checkpoint. Copy it again.")
        if head[8:] != b"{":
            raise CheckpointError(
                f"{path}: is neither safetensors nor a torch zip file. Old pickle files are refused because "
                "reading one runs its code; convert it to safetensors where you trust it."
            )
        length = struct.unpack("<Q", head[:8])[0]
        if 8 + length > size:
            raise CheckpointError(f"{path}: is truncated: {size} bytes of more than {8 + length}. Copy it again.")
        try:
            header = json.loads(head[8:] + file.read(length - 1))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            expected = 8 + length + max(ends, default=0)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise CheckpointError(f"{path}: the safetensors header is damaged. Copy the file again.") from error
    if expected != size:
        raise CheckpointError(f"{path}: is truncated: {size} bytes of {expected}. Copy it again.")


def load(path: Path) -> "dict[str, Tensor]":
    """Read tensors from safetensors, or from a torch file that holds nothing but tensors.

    Raises:
        CheckpointError: If the file is unreadable or truncated, or would have to be unpickled.
    """
    check(path)
    with path.open("rb") as file:
        is_torch = file.read(4) == ZIP
    return _load_torch(path) if is_torch else _load_safetensors(path)


def _load_safetensors(path: Path) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: is not valid safetensors ({error}). Copy the file again.") from error


def _load_torch(path: Path) -> "dict[str, Tensor]":
    import pickle

    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors, and reading it would run its code. It is refused; convert it to "
            "safetensors where you trust it."
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(f"{path}: is damaged or truncated ({reason}). Copy it again.") from error
    for key in ("state_dict", "model"):  # open_clip and CleanCLIP nest the weights
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    ):
        raise CheckpointError(f"{path}: must hold a mapping of names to tensors.")
    return {name.removeprefix("module."): value for name, value in content.items()}


def assign(model: "nn.Module", tensors: "Mapping[str, Tensor]", source: str) -> None:
    """Copy tensors into a model.

    Raises:
        CheckpointError: If a name or shape does not fit; the first few differences are named.
    """
    own = model.state_dict()
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    wrong = [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    problems = [f"missing {name}" for name in missing] + [f"unknown {name}" for name in unknown]
    problems += [f"{name} is {tuple(tensors[name].shape)}, not {tuple(own[name].shape)}" for name in sorted(wrong)]
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise CheckpointError(f"{source}: does not fit the model: {shown}. Check model.architecture.")
    model.load_state_dict(dict(tensors))
