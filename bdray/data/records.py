"""What a source holds before anyone has looked at it: candidates, of which samples are drawn."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.data import places
from bdray.data.bad_samples import BadSampleError
from bdray.data.places import Place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Records(ABC):
    """Candidates in an order that only the data decides. Any of them may turn out to be bad when it is looked at."""

    damage: Sequence[tuple[str, BadSampleError]] = ()
    """What is wrong with files as wholes, and where."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def where(self, position: int) -> str:
        """A candidate's name for people."""

    @abstractmethod
    def caption(self, position: int) -> object:
        """What should be its caption, as it is in the data.

        Raises:
            BadSampleError: If it is already known to be bad.
        """

    @abstractmethod
    def place(self, position: int) -> Place | None:
        """Where the bytes of its image are; None if they are in no file of their own.

        Raises:
            BadSampleError: If that is no place where it may be.
        """

    def read(self, position: int) -> bytes:
        """The bytes of its image file.

        Raises:
            BadSampleError: If they cannot be read.
        """
        place = self.place(position)
        assert place is not None, "who has no places has another way to read"
        return places.read(place)

    def label(self, position: int) -> int:
        """Its class index; -1 if nobody knows."""
        return -1


@dataclass(frozen=True)
class Lane:
    """Candidates in the order in which they are tried, until there are enough good ones."""

    order: "NDArray[np.int64]"
    """Positions in the records."""
    count: int
    """Samples that are wanted."""
    name: str = ""
    """Of what the lane is, for people, where there are several."""


@dataclass(frozen=True)
class Draw:
    """Which candidates become samples: of each lane the first good ones."""

    records: Records
    lanes: Sequence[Lane]
    max_bad_share: float
    """Of the candidates that are looked at; more stop the preparation."""
    unique: bool
    """Whether the same image with the same caption counts once only."""
    mixed: bool = False
    """Whether samples come in the order of the lanes, one of each in turn, so that the first ones are a fair share of
    all. Else they come in the order of the data, which reads files from front to back."""

    @property
    def count(self) -> int:
        """Samples that are wanted."""
        return sum(lane.count for lane in self.lanes)

    @property
    def max_bad(self) -> int:
        """Bad samples among the first ``count`` good ones that are just allowed."""
        return most_bad(self.count, self.max_bad_share)


def most_bad(count: int, max_bad_share: float) -> int:
    """Bad candidates that may be met on the way to ``count`` good ones."""
    return int(count * max_bad_share / (1 - max_bad_share) + 1e-9)


def shuffled(available: int, seed: int) -> "NDArray[np.int64]":
    """All positions in an order that number and seed decide."""
    import numpy as np

    return np.random.default_rng([seed, 0xD4A3]).permutation(available)
