"""Weights on disk: written as safetensors, and never unpickled when read."""

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bdray.exceptions import CheckpointError
from bdray.models.naming import named_for, weights_in

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
            f"{path}: is a TorchScript archive, as OpenAI publishes CLIP, and holds code. For OpenAI's weights give "
            "model.pretrained=openai; otherwise save its state_dict() as safetensors where you trust it."
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
    return _load_torch(path) if _is_torch(path) else _load_safetensors(path)


def header(path: Path) -> "dict[str, Tensor]":
    """Names, shapes and types of the tensors in a file, as tensors without memory; their values are not read.

    Raises:
        CheckpointError: As :func:`load`.
    """
    check(path)
    if _is_torch(path):
        return {name: tensor.to("meta") for name, tensor in _load_torch(path).items()}
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118, it is no dictionary
    except SafetensorError as error:
        raise CheckpointError(f"{path}: is not valid safetensors ({error}). Copy the file again.") from error
    found = weights_in({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    assert found is not None
    return found


def _is_torch(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(ZIP)) == ZIP


def _load_safetensors(path: Path) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = weights_in(load_file(path))
    except SafetensorError as error:
        raise CheckpointError(f"{path}: is not valid safetensors ({error}). Copy the file again.") from error
    assert found is not None
    return found


def _load_torch(path: Path) -> "dict[str, Tensor]":
    import pickle

    import torch

    try:
        found = weights_in(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors{_named(path)}, and reading it would run its code. It is refused; where "
            "you trust it, save its state_dict() as safetensors."
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(f"{path}: is damaged or truncated ({reason}). Copy it again.") from error
    if not found:
        raise CheckpointError(f"{path}: must hold a mapping of names to tensors.")
    return found


def _named(path: Path) -> str:
    """What else a torch file names, read without running any of it: `` (posix.system)``."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    try:
        names = sorted(get_unsafe_globals_in_checkpoint(path))
    except Exception:  # noqa: BLE001 - it is hostile or damaged, and refused in any case
        return ""
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f" ({shown})" if names else ""


def check_fits(model: "nn.Module", tensors: "Mapping[str, Tensor]", source: str) -> None:
    """Compare names and shapes, of tensors that need have no values.

    Raises:
        CheckpointError: If a name or shape does not fit; the first few differences are named.
    """
    own, tensors = model.state_dict(), named_for(model, tensors)
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    wrong = [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    problems = [f"missing {name}" for name in missing] + [f"unknown {name}" for name in unknown]
    problems += [f"{name} is {tuple(tensors[name].shape)}, not {tuple(own[name].shape)}" for name in sorted(wrong)]
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise CheckpointError(f"{source}: does not fit the model: {shown}. Check model.architecture.")


def assign(model: "nn.Module", tensors: "Mapping[str, Tensor]", source: str) -> None:
    """Copy tensors into a model, under its own names for them.

    Raises:
        CheckpointError: If a name or shape does not fit; the first few differences are named.
    """
    check_fits(model, tensors, source)
    model.load_state_dict(named_for(model, tensors))
