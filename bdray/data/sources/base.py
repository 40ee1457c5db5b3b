"""What a source of image-text pairs is: candidates in files, of which a fixed number is drawn."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from bdray import config
from bdray.data import places
from bdray.data.records import Draw, Lane, Records, most_bad, shuffled
from bdray.registry import Component, component


@component
class PairSource(Component):
    """Image-text pairs in files.

    ``num_samples`` says how many are drawn, so that a study can be planned where the data are not. Candidates are put
    into an order that ``subset_seed`` decides; bad ones are left out, and the next ones take their places. What is
    drawn is a pure function of the fields and the files. The same image with the same caption is drawn once only; that
    another source draws it too, under another name, nobody finds out.
    """

    PATHS: ClassVar[tuple[str, ...]] = ("path",)
    """Fields that say where data are, and nothing about what they are."""

    type: str
    num_samples: int = Field(ge=2)
    """Pairs that are drawn."""
    subset_seed: int = Field(default=0, ge=0)
    """Seed of the draw."""
    skip: int = Field(default=0, ge=0)
    """Candidates at the front of the drawn order that are left to another source of the same files. That one may need
    more than its ``num_samples``, because some are bad: ``num_samples / (1 - max_bad_share)``."""
    max_bad_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of bad samples above which the preparation stops and lists them."""

    @abstractmethod
    def listing(self) -> Any:
        """What is there, as plain JSON that tells apart other data in the same place; None if it cannot be read."""

    @abstractmethod
    def check_readable(self, field: str) -> None:
        """Refuse data that are not there.

        Args:
            field: Name of this source in the configuration.

        Raises:
            DataError: With the field, the place and what to do.
        """

    @abstractmethod
    def records(self, field: str, cache: Path) -> Records:
        """All candidates.

        Args:
            field: Name of this source in the configuration, for errors.
            cache: Folder in which to keep what took long to find out.

        Raises:
            DataError: If they cannot be read.
        """

    def draw(self, field: str, cache: Path) -> Draw:
        """Which candidates become samples."""
        self.check_readable(field)
        records = self.records(field, cache)
        lanes = [Lane(shuffled(len(records), self.subset_seed)[self.skip :], self.num_samples)]
        return Draw(records, lanes, self.max_bad_share, unique=True)

    @property
    def reach(self) -> tuple[int, int]:
        """First and last candidate, exclusive, that the draw may take, by their places in the drawn order."""
        return self.skip, self.skip + self.num_samples + most_bad(self.num_samples, self.max_bad_share)

    def science(self) -> dict[str, Any]:
        """The fields that decide which samples are drawn."""
        fields: dict[str, Any] = config.dump(self)
        return {name: value for name, value in fields.items() if name not in (*self.PATHS, "max_bad_share")}

    def shares_files_with(self, other: "PairSource") -> bool:
        """Whether both draw from the same files, as far as their fields tell."""
        return type(self) is type(other) and all(
            places.absolute(str(getattr(self, name))) == places.absolute(str(getattr(other, name)))
            for name in self.PATHS
        )
