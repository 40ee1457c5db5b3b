"""What a source of a zero-shot task is: labeled images in three parts, and the names of their classes."""

from abc import abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pydantic import Field

from bdray import config
from bdray.data import preparation
from bdray.data.base import Pairs
from bdray.data.examination import Picture
from bdray.registry import Component, component

if TYPE_CHECKING:
    from bdray.data.records import Draw

Part = Literal["train", "validation", "test"]
"""``train`` is for probes and supervised defenses, ``validation`` is taken from the same images, and disjoint; ``test``
is what results are reported on."""
PARTS: tuple[Part, ...] = get_args(Part)
VERSION = 1
"""Counted up whenever the same configuration and files give other pixels."""


@component
class TaskSource(Component):
    """Labeled images in files.

    How many there are is known from the fields alone, so that a study can be planned where the data are not. Captions
    are prompts of the first template.
    """

    PATHS: ClassVar[tuple[str, ...]] = ("path",)
    """Fields that say where data are, and nothing about what they are."""

    type: str
    subset_seed: int = Field(default=0, ge=0)
    """Seed of what is drawn for ``train`` and ``validation``."""

    @property
    def set_name(self) -> str:
        """Short name of the set, fit for names of numbers."""
        return self.type

    @abstractmethod
    def class_names(self) -> list[str]:
        """Names of the classes, by class index."""

    @abstractmethod
    def prompt_templates(self) -> list[str]:
        """Templates with one ``{}`` for the class name."""

    @abstractmethod
    def size(self, part: Part) -> int:
        """Number of images of a part."""

    @abstractmethod
    def listing(self, part: Part) -> Any:
        """What is there, as plain JSON that tells apart other data in the same place; None if it cannot be read."""

    @abstractmethod
    def check_readable(self, field: str, parts: Collection[Part] = PARTS) -> None:
        """Refuse data that are not there.

        Args:
            field: Name of this source in the configuration.
            parts: Those that will be read; a set that comes as a whole is asked for as a whole.

        Raises:
            DataError: With the field, the place and what to do.
        """

    @abstractmethod
    def draw(self, part: Part, field: str) -> "Draw":
        """Which images are the samples of a part.

        Raises:
            DataError: If they cannot be read.
        """

    def science(self) -> dict[str, Any]:
        """The fields that decide what the images are, as plain JSON, wherever the files are."""
        fields: dict[str, Any] = config.dump(self)
        return {name: value for name, value in fields.items() if name not in self.PATHS}

    def fingerprint(self, part: Part, picture: Picture) -> str:
        """Hash of everything that decides the images, their labels, and what they are compared with."""
        names = [self.class_names(), self.prompt_templates()]
        return config.fingerprint(
            ["task", VERSION, part, self.science(), self.listing(part), names, picture.size, picture.geometry]
        )

    def load(self, part: Part, picture: Picture, cache: Path, field: str = "task") -> Pairs:
        """Read a part, preparing it in the folder ``cache`` first if it is not there.

        Args:
            part: Which one.
            picture: What becomes of image files.
            cache: Shared by all processes of a node.
            field: Name of this source in the configuration, for errors.

        Raises:
            DataError: If the images cannot be read, or some of them are bad.
        """
        return preparation.load(self.folder(part, picture, cache), lambda: self.draw(part, field), picture, field)

    def folder(self, part: Part, picture: Picture, cache: Path) -> Path:
        """Where a part is prepared."""
        return cache / f"{self.type}-{part}-{self.fingerprint(part, picture)}"

    def prompt(self, label: int) -> str:
        """The caption of an image of a class."""
        return self.prompt_templates()[0].replace("{}", self.class_names()[label])
