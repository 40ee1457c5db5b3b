"""What a data set is: image-text pairs in splits, and a zero-shot classification task."""

from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from bdray.registry import Component

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Split = Literal["train", "finetune", "validation", "test"]
"""``train`` is what models are trained and poisoned on, ``finetune`` the defender's clean pairs, ``validation`` what
hyperparameters are chosen on and every epoch is judged by, ``test`` what results are reported on, once."""
SPLITS: tuple[Split, ...] = get_args(Split)


class Images(Protocol):
    """The pixels of N images, uint8 [N, 3, H, W]: an array, or something that makes the parts that it is asked for.

    What is read is the reader's: an array of its own, or one that cannot be written.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, 3, H, W]."""

    @property
    def dtype(self) -> "np.dtype[np.uint8]":
        """Always uint8."""

    @property
    def nbytes(self) -> int:
        """Bytes of all N images as one array, whether there is one or not."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: "int | slice | NDArray[np.int64]", /) -> "NDArray[np.uint8]":
        """One image, [3, H, W], or those of a slice or of positions in any order, [n, 3, H, W]."""


@dataclass(frozen=True)
class Pairs:
    """A split, ready to be read. All members have one entry per sample, in the same order."""

    images: Images
    """Pixels, uint8 [N, 3, H, W]; may be a read-only memory map that the trials of a node share, or be decoded only
    when they are read."""
    captions: Sequence[str]
    labels: "NDArray[np.int64]"
    """Class index in :meth:`Dataset.class_names`, int64 [N]; -1 where the class is not known."""

    def __len__(self) -> int:
        return len(self.captions)


class Dataset(Component):
    """Image-text pairs in four disjoint splits.

    A data set is a pure function of its fields: the same fields give the same pairs everywhere, and
    :meth:`fingerprint` changes whenever the pairs do.
    """

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Side of the square images in pixels."""

    @abstractmethod
    def class_names(self) -> list[str]:
        """Names of the classes of the zero-shot task, by class index."""

    @abstractmethod
    def prompt_templates(self) -> list[str]:
        """Templates with one ``{}`` for the class name, whose text features are averaged into class weights."""

    @abstractmethod
    def size(self, split: Split) -> int:
        """Number of samples of a split."""

    @abstractmethod
    def load(self, split: Split, cache: Path) -> Pairs:
        """Read a split, preparing it in the folder ``cache`` first if it is not there.

        Several processes may ask at once; the preparation of one is used by all.
        """

    @abstractmethod
    def fingerprint(self, split: Split) -> str:
        """Hash of everything that decides the pairs of a split and, for evaluation, the zero-shot task."""

    def check_readable(self, splits: Collection[Split] = SPLITS) -> None:
        """Refuse a data set whose files are not here, before anything is computed; nothing of it is prepared.

        Args:
            splits: Those that will be read.

        Raises:
            DataError: With the field, the place and what to do.
        """

    def known_captions(self, split: Split, cache: Path) -> Sequence[str] | None:
        """The captions of a split, for plans; None where that would take a long preparation."""
        return self.load(split, cache).captions

    def notes(self, split: Split, cache: Path) -> dict[str, Any]:
        """What manifests say about how a split was prepared, as plain JSON; empty where that is no question."""
        return {}
