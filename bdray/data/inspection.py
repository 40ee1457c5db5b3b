"""Looking at a source before anyone trains on it."""

import io
import string
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bdray.data.bad_samples import BadSampleError, Tally
from bdray.data.examination import Picture, Sample, examine_all, num_threads
from bdray.data.records import Records

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Shown = tuple["NDArray[np.uint8]", str]
"""Pixels, uint8 [3, size, size], and caption."""


@dataclass
class Inspection:
    """What was seen of some candidates of a source."""

    available: int
    """Candidates of the source."""
    examined: int = 0
    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)
    captions: list[str] = field(default_factory=list)
    """Of good samples, as are all that follow."""
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Bytes of image files."""
    labels: Counter[int] = field(default_factory=Counter)
    shown: list[Shown] = field(default_factory=list)
    """Random samples."""
    neighbors: list[Shown] = field(default_factory=list)
    """Good samples right before and after bad ones: what went wrong there may have gone wrong here, too."""

    @property
    def bad_share(self) -> float:
        """Of the candidates that were examined."""
        return self.tally.total / self.examined if self.examined else 0.0

    @property
    def vocabulary(self) -> Counter[str]:
        """How often each word comes, without the punctuation around it."""
        words = (word.strip(string.punctuation) for caption in self.captions for word in caption.lower().split())
        return Counter(filter(None, words))

    @property
    def repeated_captions(self) -> int:
        """Samples whose caption came before."""
        return len(self.captions) - len(set(self.captions))

    def seconds_for(self, count: int, threads: int | None = None) -> float:
        """How long a preparation of so many samples takes, by what was measured."""
        rate = self.examined / self.seconds if self.seconds else float("inf")
        return count / rate * num_threads() / (threads or num_threads()) / max(1e-9, 1 - self.bad_share)


def inspect(
    records: Records,
    positions: Sequence[int],
    picture: Picture,
    *,
    num_shown: int = 24,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Inspection:
    """Examine candidates.

    Args:
        records: The source.
        positions: Which ones, in random order; the first good ones are shown.
        picture: What becomes of image files.
        num_shown: How many pictures to keep, of random samples and of neighbors of bad ones.
        progress: Told how many were examined, of how many.
    """
    found = Inspection(len(records))
    for where, damage in records.damage:
        found.tally.add(where, damage)
    seen: set[bytes] = set()
    bad: list[int] = []
    started = time.perf_counter()
    for position, result in examine_all(records, positions, picture):
        found.examined += 1
        if isinstance(result, Sample) and result.digest in seen:
            result = BadSampleError("duplicate", result.caption[:80])
        if isinstance(result, Sample):
            seen.add(result.digest)
            _note(found, result, num_shown)
        else:
            found.tally.add(records.where(position), result)
            bad.append(position)
        progress(found.examined, len(positions))
    found.seconds = time.perf_counter() - started
    beside = {position + step for position in bad[:num_shown] for step in (-1, 1)} - {-1, len(records)}
    neighbors = (result for _, result in examine_all(records, sorted(beside), picture))
    found.neighbors = [(result.pixels, result.caption) for result in neighbors if isinstance(result, Sample)]
    return found


def _note(found: Inspection, sample: Sample, num_shown: int) -> None:
    from PIL import Image

    with Image.open(io.BytesIO(sample.packed)) as picture:  # reads no more than the size
        width, height = picture.size
    found.captions.append(sample.caption)
    found.widths.append(width)
    found.heights.append(height)
    found.sizes.append(len(sample.packed))
    found.labels[sample.label] += 1
    if len(found.shown) < num_shown:
        found.shown.append((sample.pixels, sample.caption))
