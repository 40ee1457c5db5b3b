"""Random subsets of a split, decided by a seed alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from bdray.data.base import Images, Pairs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def chosen_samples(available: int, count: int | None, seed: int, salt: int = 0x5AB5E7) -> "NDArray[np.int64]":
    """Sorted indices of a random subset, a pure function of its arguments; all of them for None.

    ``salt`` tells apart draws that shall have nothing in common.
    """
    import numpy as np

    if count is None or count == available:
        return np.arange(available)
    rng = np.random.default_rng([seed, salt])
    return np.sort(rng.choice(available, size=count, replace=False))


@dataclass(frozen=True)
class ChosenImages:
    """Some of the images of a set, which are not copied: half a million photos of 224 px are 70 GiB."""

    images: Images
    chosen: "NDArray[np.int64]"
    """Their positions in ``images``, in the order in which they count here."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.chosen), *self.images.shape[1:])

    @property
    def dtype(self) -> "np.dtype[np.uint8]":
        return self.images.dtype

    @property
    def nbytes(self) -> int:
        return prod(self.shape)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, key: "int | slice | NDArray[np.int64]", /) -> "NDArray[np.uint8]":
        return self.images[self.chosen[key]]


def take(pairs: Pairs, chosen: "NDArray[np.int64]") -> Pairs:
    """The chosen pairs, in the order given; no copy of images."""
    if len(chosen) == len(pairs):
        return pairs
    captions: Sequence[str] = [pairs.captions[index] for index in chosen]
    return Pairs(ChosenImages(pairs.images, chosen), captions, pairs.labels[chosen])
