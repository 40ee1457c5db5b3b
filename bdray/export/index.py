"""The index of an exported set: every decision that made it, and a hash of everything in it."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from bdray import config
from bdray.exceptions import DataError
from bdray.export.folder import INDEX, image_name, plain_file, whole
from bdray.registry import component

QUANTIZATION = (
    "Pixels are round(255 x), ties to even, 8 bits per channel, where x in [0, 1] is the image that the victim is "
    "trained on: the trigger is applied in float32 on a CPU, to one image at a time. Training does not round. What is "
    "reproduced bit for bit are the exported pixels."
)
MAX_SIDE = 1024
"""Pixels to a side that are read; CLIP's images have 224 to 448."""
MAX_INDEX_BYTES = 2**30
"""An index of three million images has 0.3 GB."""
IMAGE_NAME = re.compile(r"images/([0-9]{8,18})\.png")

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


@component
class PoisonedSample:
    """What was decided for one poisoned sample."""

    sample: Count
    """Its index in the train split."""
    position: Count
    """Its index in the victim's training set, which may be a part of the split."""
    original_caption: str
    """What it said."""
    caption: str
    """What it says now."""
    trigger: str
    """Type of the trigger on its image."""
    trigger_seed: Count
    """Seed of the trigger."""
    trigger_sample: Count
    """Index that the trigger's randomness for this image comes from: its position, as in training."""


@component
class Index:
    """All that reproduces a set, and all that a copy of it can be checked with."""

    format: Literal["bdray poisoned set"] = "bdray poisoned set"
    """What this file is."""
    format_version: Literal[1] = 1
    """Counted up whenever a reader has to know."""
    quantization: str = QUANTIZATION
    """How pixels became whole numbers."""
    experiment: dict[str, Any]
    """The whole experiment, with all defaults."""
    seed: Count
    """The experiment's seed, from which samples and captions were drawn."""
    data_fingerprint: str
    """Fingerprint of the train split."""
    image_size: Annotated[int, Field(ge=1, le=MAX_SIDE)]
    """Side of the images in pixels."""
    num_samples: Count
    """Size of the victim's training set, whether or not all of it was exported."""
    only_poisoned: bool
    """Whether clean samples were left out."""
    software: dict[str, Any]
    """What made the files: git commit, versions of packages, and which instructions of the CPU torch used."""
    trigger: dict[str, Any]
    """The trigger's fields, and the hash of any file that it reads."""
    trigger_sha256: Sha256 | None = None
    """Hash of ``trigger.safetensors``; None for triggers that are not learned."""
    captions_sha256: Sha256
    """Hash of ``captions.csv``."""
    poisoned: tuple[PoisonedSample, ...]
    """Every poisoned sample, in the order of the train split."""
    images: dict[str, Sha256]
    """For every image in the order of ``captions.csv`` the hash of its pixels: H x W x 3 bytes, row by row, RGB."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        samples = [_sample_of(name) for name in self.images]
        if samples != sorted(set(samples)):
            raise ValueError("images: must be in the order of their samples")
        poisoned = [found.sample for found in self.poisoned]
        positions = [found.position for found in self.poisoned]
        if poisoned != sorted(set(poisoned)) or positions != sorted(set(positions)):
            raise ValueError("poisoned: must be in the order of the samples, each once")
        if positions and positions[-1] >= self.num_samples:
            raise ValueError(f"poisoned: position {positions[-1]} is not among {self.num_samples} samples")
        unknown = next((sample for sample in poisoned if image_name(sample) not in self.images), None)
        if unknown is not None:
            raise ValueError(f"poisoned: sample {unknown} has no image")
        expected = len(poisoned) if self.only_poisoned else self.num_samples
        if len(samples) != expected:
            raise ValueError(f"images: must be {expected}, but {len(samples)} are listed")
        return self

    @property
    def identity(self) -> str:
        """Hash of what was asked for, which decides all the rest."""
        return identity(self.experiment, self.trigger, self.data_fingerprint, only_poisoned=self.only_poisoned)

    def write(self, folder: Path) -> None:
        """Put the index into the folder, at once and as a whole."""
        content = TypeAdapter(Index).dump_json(self, indent=1)
        with whole(folder / INDEX) as path:
            path.write_bytes(content + b"\n")


def identity(experiment: config.Tree, trigger: config.Tree, data_fingerprint: str, *, only_poisoned: bool) -> str:
    """Hash of what is asked for: two exports of the same may share a folder, others may not."""
    return config.fingerprint(["poisoned set", 1, experiment, trigger, data_fingerprint, only_poisoned])


def read_index(folder: Path, name: str = INDEX) -> Index:
    """Read and check an index.

    Raises:
        DataError: If it is missing, too large, no JSON, or breaks a rule; the first one is named.
    """
    path = plain_file(folder, name)
    try:
        size = path.stat().st_size
        if size > MAX_INDEX_BYTES:
            raise DataError(f"{path}: has {size} bytes; an index has at most {MAX_INDEX_BYTES}.")
        return TypeAdapter(Index).validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))[:200]
        rule = first["msg"].removeprefix("Value error, ")
        raise DataError(
            f"{path}: {f'{where}: ' if where else ''}{rule}. The file is damaged or was made by another version of "
            "bdray; export the set anew."
        ) from error


def _sample_of(name: str) -> int:
    found = IMAGE_NAME.fullmatch(name)
    if found is None or image_name(int(found[1])) != name:
        raise ValueError(f"images: {name[:80]!r} is not like {image_name(12)}")
    return int(found[1])
