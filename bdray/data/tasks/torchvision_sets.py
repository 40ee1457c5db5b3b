"""Labeled sets that torchvision reads, among them those of CleanerCLIP's Table 2. Nothing is downloaded."""

import io
import json
from collections.abc import Collection, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bdray.data import places
from bdray.data.bad_samples import BadSampleError
from bdray.data.pictures import DAMAGED
from bdray.data.places import Place
from bdray.data.records import Draw, Lane, Records, shuffled
from bdray.data.tasks.base import PARTS, Part, TaskSource
from bdray.exceptions import DataError
from bdray.registry import component

if TYPE_CHECKING:
    from torchvision.datasets import VisionDataset

SEEN = 512
"""Images that are kept between being asked for their captions and for their pixels; more than threads at work."""


@cache
def known() -> dict[str, dict[str, Any]]:
    """Of each set: its class in torchvision, files, splits, sizes, and the prompts that OpenAI published with CLIP."""
    text = (Path(__file__).parent / "torchvision_sets.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, Any]] = json.loads(text)
    return found


@component
class Torchvision(TaskSource):
    """A set that torchvision knows, in the folder that torchvision puts it in.

    ``test`` is its test set. Its train set (with what it offers for validation, as in CleanCLIP's public code) gives
    ``validation``, drawn at random, and ``train``, which is the rest. CIFAR's files are pickles; torchvision compares
    their hashes with the published ones before it reads them.
    """

    type: Literal["torchvision"] = "torchvision"
    name: Literal[
        "cifar10", "cifar100", "dtd", "flowers102", "food101", "oxford_iiit_pet", "rendered_sst2", "stl10", "svhn"
    ]
    """Which one."""
    path: str = Field(default="torchvision", min_length=1)
    """Folder that was torchvision's ``root``, relative to ``BDRAY_DATA``. No URL."""
    num_train: int | None = Field(default=None, ge=1)
    """Images of ``train``; None: all that ``validation`` leaves."""
    num_validation: int | None = Field(default=None, ge=1)
    """Images of ``validation``; None: a tenth of the train set."""
    num_test: int | None = Field(default=None, ge=1)
    """Images of ``test``, drawn at random; None: all."""

    @property
    def set_name(self) -> str:
        return self.name

    @property
    def _about(self) -> dict[str, Any]:
        return known()[self.name]

    def class_names(self) -> list[str]:
        return list(self._about["classes"])

    def prompt_templates(self) -> list[str]:
        return list(self._about["templates"])

    def size(self, part: Part) -> int:
        available = int(self._about["num_train"])
        validation = self.num_validation or available // 10
        return {
            "train": self.num_train or available - validation,
            "validation": validation,
            "test": self.num_test or int(self._about["num_test"]),
        }[part]

    @property
    def _folder(self) -> Path:
        return Path(places.absolute(self.path))

    def listing(self, part: Part) -> Any:
        return "there" if self._lacking is None else None

    @property
    def _lacking(self) -> str | None:
        """The first of the files and folders that torchvision asks for, and that is not there."""
        return next((name for name in self._about["files"] if not (self._folder / name).exists()), None)

    def check_readable(self, field: str, parts: Collection[Part] = PARTS) -> None:
        if places.is_remote(places.absolute(self.path)):
            raise DataError(f"{field}.path: torchvision reads local files only. Copy the set to a folder.")
        if (lacking := self._lacking) is not None:
            raise places.missing(f"{field}.path", f"{self.path}/{lacking}", f"{self.name} is not there as a whole: no")

    def draw(self, part: Part, field: str) -> Draw:
        self.check_readable(field)
        records = TorchvisionRecords(self._sets(part, field), [self.prompt(label) for label in range(self._classes)])
        order, wanted = shuffled(len(records), self.subset_seed), self.size(part)
        if part != "test":
            kept = self.size("validation")
            order = order[:kept] if part == "validation" else order[kept:]
        if len(order) < wanted or (part == "test" and self.num_test is None and len(order) != wanted):
            raise DataError(
                f"{field}: {self.name} has {len(records)} images in {self._folder}, which give {len(order)} for "
                f"{part}, but {wanted} are expected. Get the whole set, or ask for fewer."
            )
        return Draw(records, [Lane(order, wanted)], 0.0, unique=False, mixed=True)

    @property
    def _classes(self) -> int:
        return len(self._about["classes"])

    def _sets(self, part: Part, field: str) -> "list[VisionDataset]":
        """What torchvision has for a part."""
        import torchvision.datasets

        make = getattr(torchvision.datasets, self._about["class"])
        splits = self._about["splits"]["test" if part == "test" else "train"]
        try:
            found = [make(self._folder, download=False, **split) for split in splits]
        except (RuntimeError, OSError, ValueError, LookupError, EOFError) as error:
            raise DataError(
                f"{field}.path: torchvision cannot read {self.name} in {self._folder}: {' '.join(str(error).split())}."
            ) from error
        for one in found:
            names = getattr(one, "classes", None)
            if names is not None and [_plain(name) for name in names] != [_plain(name) for name in self.class_names()]:
                raise DataError(
                    f"{field}.path: {self.name} in {self._folder} has other classes than the published set. Get "
                    "the whole set."
                )
        return found


class TorchvisionRecords(Records):
    """Images of torchvision's sets, one after the other. They have no files of their own that others may read."""

    def __init__(self, sets: "Sequence[VisionDataset]", prompts: Sequence[str]) -> None:
        """Join sets.

        Args:
            sets: With the same classes.
            prompts: Caption of each class.
        """
        self._sets, self._prompts = sets, prompts
        self._item = lru_cache(SEEN)(self._load)

    def __len__(self) -> int:
        return sum(map(len, self._sets))

    def where(self, position: int) -> str:
        return f"image {position}"

    def caption(self, position: int) -> object:
        return self._prompts[self.label(position)]

    def label(self, position: int) -> int:
        return self._item(position)[1]

    def place(self, position: int) -> Place | None:
        return None

    def read(self, position: int) -> bytes:
        return self._item(position)[0]

    def _load(self, position: int) -> tuple[bytes, int]:
        """An image as a file that loses nothing, and its label."""
        from PIL import Image

        rest = position
        for one in self._sets:
            if rest < len(one):
                break
            rest -= len(one)
        packed = io.BytesIO()
        try:
            image, label = one[rest]
            image.convert("RGB").save(packed, format="BMP")
        except (*DAMAGED, Image.DecompressionBombError) as error:
            raise BadSampleError("broken image", " ".join(str(error).split())[:200]) from error
        return packed.getvalue(), int(label)


def _plain(name: str) -> str:
    return name.replace("_", " ").replace("-", " ").casefold()
