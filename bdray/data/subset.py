"""Random subsets of a split, decided by a seed alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bdray.data.base import Pairs

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


def take(pairs: Pairs, chosen: "NDArray[np.int64]") -> Pairs:
    """The chosen pairs, in the order given; no copy if these are all of them."""
    if len(chosen) == len(pairs):
        return pairs
    captions: Sequence[str] = [pairs.captions[index] for index in chosen]
    return Pairs(pairs.images[chosen], captions, pairs.labels[chosen])
