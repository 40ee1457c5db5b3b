"""ImageNet-1K as folders of classes that are named by wnids."""

from collections.abc import Collection
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from bdray.config import did_you_mean
from bdray.data import places
from bdray.data.tasks.base import PARTS, Part, TaskSource
from bdray.data.tasks.folders import FolderRecords, image_names
from bdray.exceptions import DataError
from bdray.registry import component

if TYPE_CHECKING:
    from bdray.data.records import Draw

RESERVE = 2
"""Of each class so many times as many candidates are kept for validation as it needs, in case some are bad."""
MAX_BAD_SHARE = 0.05


@cache
def wnids() -> tuple[str, ...]:
    """WordNet ids of the 1000 classes by class index, which is their alphabetical order."""
    return tuple((Path(__file__).parent / "imagenet_wnids.txt").read_text(encoding="ascii").split())


@component
class ImageNet(TaskSource):
    """ImageNet-1K (Deng et al. 2009; Russakovsky et al. 2015) under the names that the papers' proxy captions use.

    ``test`` is its validation set, on which the papers report. Its train set gives ``validation`` and ``train``, both
    with equally many images of each class.
    """

    type: Literal["imagenet"] = "imagenet"
    path: str = Field(default="ImageNet1K", min_length=1)
    """Folder with the next two in it, relative to ``BDRAY_DATA``; or a URL."""
    train_folder: str = "train"
    """Has a folder for each wnid."""
    test_folder: str = "val"
    """Has a folder for each wnid."""
    classes: tuple[str, ...] | None = Field(default=None, min_length=2)
    """Wnids of the classes to tell apart, by class index; None: all 1000."""
    train_per_class: int = Field(default=50, ge=1)
    """Labeled images for probes and supervised finetuning (CleanCLIP, Sec. 4.3: 50)."""
    validation_per_class: int = Field(default=5, ge=1)
    """Images of each class to choose hyperparameters on."""
    test_per_class: int = Field(default=50, ge=1)
    """Images of each class to report on; there are 50."""
    templates: tuple[str, ...] | Literal["openai_imagenet"] = "openai_imagenet"
    """With one ``{}`` for the class name; or ``openai_imagenet``, the 80 of the papers' public code."""

    PATHS = ("path", "train_folder", "test_folder")

    @field_validator("classes")
    @classmethod
    def _are_known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = next((name for name in value or () if name not in wnids()), None)
        if unknown is not None:
            raise ValueError(f"{unknown!r} is no wnid of ImageNet-1K. {did_you_mean(unknown, wnids())}")
        if value and len(set(value)) < len(value):
            raise ValueError("a wnid must not be given twice")
        return value

    @field_validator("templates")
    @classmethod
    def _have_a_place(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        wrong = [text for text in value if text.count("{}") != 1] if isinstance(value, tuple) else []
        if wrong or not value:
            raise ValueError("give templates that hold {} exactly once")
        return value

    @property
    def _wnids(self) -> tuple[str, ...]:
        return self.classes or wnids()

    def class_names(self) -> list[str]:
        from bdray.models.templates import openai_imagenet_classes

        names = dict(zip(wnids(), openai_imagenet_classes(), strict=True))
        return [names[wnid] for wnid in self._wnids]

    def prompt_templates(self) -> list[str]:
        from bdray.models.templates import openai_imagenet

        return list(openai_imagenet() if self.templates == "openai_imagenet" else self.templates)

    def size(self, part: Part) -> int:
        return len(self._wnids) * self._per_class(part)

    def _per_class(self, part: Part) -> int:
        return {
            "train": self.train_per_class,
            "validation": self.validation_per_class,
            "test": self.test_per_class,
        }[part]

    def _folder_of(self, part: Part) -> str:
        return self.test_folder if part == "test" else self.train_folder

    def _root(self, part: Part) -> str:
        return f"{places.absolute(self.path)}/{self._folder_of(part)}"

    def listing(self, part: Part) -> Any:
        found = {wnid: len(names) for wnid, names in _images(self._root(part), self._wnids).items()}
        return found if any(found.values()) else None

    def check_readable(self, field: str, parts: Collection[Part] = PARTS) -> None:
        for folder in dict.fromkeys(self._folder_of(part) for part in parts):
            there = places.names(f"{places.absolute(self.path)}/{folder}")
            if not there:
                raise places.missing(f"{field}.path", f"{self.path}/{folder}")
            lost = [wnid for wnid in self._wnids if wnid not in there]
            if lost:
                raise DataError(
                    f"{field}.path: {places.absolute(self.path)}/{folder} has no folder {lost[0]!r}, and {len(lost)} "
                    f"of {len(self._wnids)} are missing. Give each class a folder that is named by its wnid."
                )

    def draw(self, part: Part, field: str) -> "Draw":
        from bdray.data.records import Draw, Lane, shuffled

        self.check_readable(field, [part])
        found = _images(self._root(part), self._wnids)
        counts = [len(names) for names in found.values()]
        names = [f"{wnid}/{name}" for wnid, inside in found.items() for name in inside]
        labels = [label for label, count in enumerate(counts) for _ in range(count)]
        prompts = [self.prompt(label) for label in range(len(counts))]
        kept = RESERVE * self.validation_per_class
        those = {"train": slice(kept, None), "validation": slice(kept), "test": slice(None)}[part]
        firsts = list(accumulate(counts, initial=0))
        lanes = [
            Lane(firsts[label] + shuffled(counts[label], self.subset_seed)[those], self._per_class(part), wnid)
            for label, wnid in enumerate(found)
        ]
        lanes = [lanes[label] for label in shuffled(len(lanes), self.subset_seed)]
        records = FolderRecords(self._root(part), names, labels, prompts)
        return Draw(records, lanes, MAX_BAD_SHARE, unique=False, mixed=True)


@cache
def _images(root: str, wnids: tuple[str, ...]) -> dict[str, list[str]]:
    """Names of the images of each class; read once in the life of a process, for there are 1.3 million."""
    return {wnid: image_names(f"{root}/{wnid}") for wnid in wnids}
