"""``files``: image-text pairs and labeled images that people have on their disks or in their buckets."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from bdray import config
from bdray.data import preparation
from bdray.data.base import SPLITS, Dataset, Pairs, Split
from bdray.data.examination import Picture
from bdray.data.pictures import Geometry
from bdray.data.sources.base import PairSource
from bdray.data.tasks.base import TaskSource
from bdray.registry import component

if TYPE_CHECKING:
    from bdray.data.tasks.base import Part

VERSION = 2
"""Counted up whenever the same configuration and files give other pixels or captions."""


@component
class Files(Dataset):
    """Pairs to train on and a zero-shot task, in files; prepared once on each node.

    A study can be planned where the files are not. Where they are, their listing (names and sizes of shards, the
    content of tables, numbers of images of classes) is part of every result's key.
    """

    type: Literal["files"] = "files"
    train: PairSource
    """Pairs to pretrain and poison on."""
    finetune: PairSource | None = None
    """Clean pairs of the defender, without those of ``train``. None: the labeled images of the task's train part."""
    task: TaskSource
    """What models are evaluated on."""
    image_size: int = Field(default=224, ge=16)
    """Side of the square images in pixels."""
    geometry: Geometry = "crop"
    """How images become square. ``crop``: resized by the shorter side, and the center cut out, as the papers do with
    clean images. ``squash``: width and height resized apart, as their code does with images that get a trigger. Here
    both kinds are made square in the same way, so that they differ by the trigger only."""

    @model_validator(mode="after")
    def _splits_are_disjoint(self) -> Self:
        train, finetune = self.train, self.finetune
        if finetune is None or not train.shares_files_with(finetune):
            return self
        if train.subset_seed != finetune.subset_seed:
            raise ValueError(
                "finetune: draws from the files of train, so both need the same subset_seed to be disjoint"
            )
        first, second = sorted([train.reach, finetune.reach])
        if second[0] < first[1]:
            raise ValueError(
                "finetune: draws from the files of train, and might take the same samples; set skip of the later one "
                f"to at least {first[1]}, for {first[1] - first[0]} candidates may be needed before it"
            )
        return self

    def class_names(self) -> list[str]:
        return self.task.class_names()

    def prompt_templates(self) -> list[str]:
        return self.task.prompt_templates()

    def size(self, split: Split) -> int:
        source = self._source(split)
        return source.num_samples if source is not None else self.task.size(_part(split))

    def fingerprint(self, split: Split) -> str:
        source = self._source(split)
        if source is None:
            return self.task.fingerprint(_part(split), self._picture)
        return config.fingerprint(
            ["files", VERSION, split, source.science(), source.listing(), self.image_size, self.geometry]
        )

    def load(self, split: Split, cache: Path) -> Pairs:
        field, source = f"data.{split}", self._source(split)
        if source is None:
            return self.task.load(_part(split), self._picture, cache, "data.task")
        folder = self._folder(split, cache)
        return preparation.load(folder, lambda: source.draw(field, cache), self._picture, field)

    def known_captions(self, split: Split, cache: Path) -> list[str] | None:
        return preparation.known_captions(self._folder(split, cache))

    def notes(self, split: Split, cache: Path) -> dict[str, Any]:
        return preparation.notes(self._folder(split, cache))

    def check_readable(self, splits: Collection[Split] = SPLITS) -> None:
        for split in splits:
            if (source := self._source(split)) is not None:
                source.check_readable(f"data.{split}")
        if parts := [_part(split) for split in splits if self._source(split) is None]:
            self.task.check_readable("data.task", parts)

    def _folder(self, split: Split, cache: Path) -> Path:
        if self._source(split) is None:
            return self.task.folder(_part(split), self._picture, cache)
        return cache / f"files-{split}-{self.fingerprint(split)}"

    def _source(self, split: Split) -> PairSource | None:
        """The source of a split; None for those that the task gives."""
        return self.train if split == "train" else self.finetune if split == "finetune" else None

    @property
    def _picture(self) -> Picture:
        return Picture(self.image_size, self.geometry)


def _part(split: Split) -> "Part":
    """The part of the task that a split without a source of its own is."""
    parts: dict[Split, Part] = {"finetune": "train", "validation": "validation", "test": "test"}
    return parts[split]
