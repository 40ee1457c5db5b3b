"""The model under audit, and the images that it is asked about."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdray import config
from bdray.data.base import Dataset, Pairs, Split
from bdray.exceptions import CheckpointError, ConfigError
from bdray.models.clip import Model, hash_of

if TYPE_CHECKING:
    import open_clip
    from torch import Tensor

    from bdray.models.tokenizer import Tokenizer


@dataclass(frozen=True)
class Task:
    """Labeled images and the names of their classes."""

    name: str
    """Of the data, for people."""
    data: Dataset
    architecture: str
    """What the data are usually looked at with."""


@dataclass(frozen=True)
class Subject:
    """A model with weights from a file, in eval mode."""

    path: Path
    sha256: str
    architecture: str
    model: "open_clip.CLIP"
    tokenizer: "Tokenizer"


def read_task(name: str, words: Sequence[str], splits: Collection[Split]) -> Task:
    """Data by the name of a base experiment, or from a YAML file that has ``data`` as one has it.

    Args:
        name: Of the base, or a path that ends in ``.yaml`` or ``.yml``.
        words: Fields that win, as ``data.num_test=400``.
        splits: Those that will be read; the files of others need not be here.

    Raises:
        ConfigError: If there is no such base or file, or it describes no data.
        DataError: If the data of those splits are not here.
    """
    from bdray.study.files import studies_folder
    from bdray.study.spec import base_tree

    if name.endswith((".yaml", ".yml")):
        tree = config.read_yaml(Path(name))
    else:
        tree = base_tree(studies_folder(), name, "--data")
    tree = config.merge(tree, config.read_overrides(words))
    if not isinstance(tree.get("data"), dict):
        raise ConfigError(f"--data {name}: must have `data` with the fields of a data set, such as {{type: scenes}}.")
    data = config.build(Dataset, tree["data"], f"--data {name}")  # type: ignore[type-abstract]
    data.check_readable(splits)
    model = tree.get("model") or {}
    return Task(name, data, str(model.get("architecture", Model().architecture)))


def read_subject(path: Path, architecture: str, task: Task, device: str) -> Subject:
    """Load a model, weights only.

    Raises:
        ConfigError: If the architecture is unknown or takes images of another size.
        CheckpointError: If the file is missing, damaged or unsafe, is of another architecture, or holds numbers that
            are not finite.
    """
    from bdray.models import weights

    component = Model(architecture=architecture)
    size = component.description()["vision_cfg"].get("image_size")
    if size != task.data.image_size:
        raise ConfigError(
            f"--architecture {architecture}: takes images of {size} px, but those of --data {task.name} have "
            f"{task.data.image_size} px. Choose an architecture and data that fit."
        )
    tensors = weights.load(path)
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(f"{path}: {broken[0]} holds numbers that are not finite. Get another copy of the file.")
    model = component.build(seed=0)
    weights.assign(model, tensors, str(path))
    return Subject(path, hash_of(path), architecture, model.to(device).eval(), component.tokenizer())


def drawn_images(pairs: Pairs, count: int) -> Pairs:
    """At most so many labeled images, equally per class, the same for every model."""
    from bdray.data.subset import take
    from bdray.evaluation.material import drawn

    return take(pairs, drawn(pairs.labels, count, seed=0))


def pixels(pairs: Pairs, positions: "Tensor") -> "Tensor":
    """Some images as they are, float [n, 3, H, W] in [0, 1]."""
    import numpy as np
    import torch

    shown: Any = np.array(pairs.images[positions.numpy()])
    return torch.from_numpy(shown).float() / 255
