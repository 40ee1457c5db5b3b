"""Looking at candidates, many at a time, with a result that does not depend on how many."""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING

from bdray.data.bad_samples import BadSampleError, Tally, clean_caption
from bdray.data.pictures import Geometry, decode
from bdray.data.records import Draw, Records
from bdray.exceptions import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 512
"""Candidates that are read before the first of them is needed: 73 MiB of pixels at a size of 224."""


@dataclass(frozen=True)
class Picture:
    """What becomes of an image file."""

    size: int
    """Side in pixels."""
    geometry: Geometry

    def pixels(self, packed: bytes) -> "NDArray[np.uint8]":
        """Unpacked, uint8 [3, size, size]."""
        return decode(packed, self.size, self.geometry)


@dataclass(frozen=True)
class Sample:
    """A candidate that breaks no rule."""

    position: int
    caption: str
    label: int
    packed: bytes
    pixels: "NDArray[np.uint8]"
    digest: bytes
    """Hash of image file and caption."""


def examine(records: Records, position: int, picture: Picture) -> Sample | BadSampleError:
    """Read one candidate and judge it by itself."""
    try:
        caption = clean_caption(records.caption(position))
        packed = records.read(position)
        pixels = picture.pixels(packed)
    except BadSampleError as bad:
        return bad
    digest = hashlib.sha256(caption.encode() + b"\0" + packed).digest()[:16]
    return Sample(position, caption, records.label(position), packed, pixels, digest)


def examine_all(
    records: Records, positions: Sequence[int], picture: Picture
) -> Iterator[tuple[int, Sample | BadSampleError]]:
    """Examine candidates in threads, for Pillow does its work without the interpreter; in the order given."""
    from PIL import Image

    with warnings.catch_warnings(), ThreadPoolExecutor(num_threads()) as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # we have a limit of our own
        for start in range(0, len(positions), BLOCK):
            block = positions[start : start + BLOCK]
            yield from zip(block, pool.map(lambda position: examine(records, position, picture), block), strict=True)


def num_threads() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass
class Selection:
    """The samples that a draw gives, found by looking at its candidates.

    In rounds: as many candidates as samples are missing, then as many more as were bad. That finds the first good ones
    of each lane, and is a pure function of draw and data.
    """

    draw: Draw
    picture: Picture
    source: str
    """Names the source in errors."""
    progress: Callable[[int, int], None] = lambda done, total: None
    """Told how many samples there are, of how many."""
    examined: int = 0
    tally: Tally = field(default_factory=Tally)

    def samples(self) -> Iterator[Sample]:
        """Find them.

        Raises:
            DataError: If there are not enough, or if too many candidates are bad.
        """
        for where, damage in self.draw.records.damage:
            self.tally.add(where, damage)
        lanes = self.draw.lanes
        tried, missing = [0] * len(lanes), [lane.count for lane in lanes]
        seen: set[bytes] = set()
        done = 0
        while any(missing):
            lane_of = self._next(tried, missing)
            for position, found in examine_all(self.draw.records, list(lane_of), self.picture):
                self.examined += 1
                if isinstance(found, Sample) and self.draw.unique and found.digest in seen:
                    found = BadSampleError("duplicate", found.caption[:80])
                if isinstance(found, BadSampleError):
                    self._reject(position, found)
                    continue
                seen.add(found.digest)
                missing[lane_of[position]] -= 1
                done += 1
                yield found
                self.progress(done, self.draw.count)

    def _next(self, tried: list[int], missing: list[int]) -> dict[int, int]:
        """The next round: its candidates in order, and the lane of each."""
        found: list[tuple[int, int, int]] = []
        for index, lane in enumerate(self.draw.lanes):
            chosen = lane.order[tried[index] : tried[index] + missing[index]]
            if len(chosen) < missing[index]:
                raise self._too_few(index, len(lane.order), missing[index] - len(chosen))
            tried[index] += len(chosen)
            found += [
                (place if self.draw.mixed else 0, index, position) for place, position in enumerate(chosen.tolist())
            ]
        found.sort(key=None if self.draw.mixed else itemgetter(2))
        return {position: index for _, index, position in found}

    def _reject(self, position: int, bad: BadSampleError) -> None:
        self.tally.add(self.draw.records.where(position), bad)
        if self.tally.total > self.draw.max_bad:
            raise DataError(
                f"{self.source}: {self.tally.total} of the first {self.examined} samples are bad, more than a share of "
                f"{self.draw.max_bad_share:g} of all that are needed. Repair the data, or raise max_bad_share where "
                "the source has it.\n" + "\n".join(self.tally.lines())
            )

    def _too_few(self, lane: int, available: int, missing: int) -> DataError:
        name, wanted = self.draw.lanes[lane].name, self.draw.lanes[lane].count
        of_class = f" of {name}" if name else ""
        text = f"{self.source}: {wanted} samples{of_class} are asked for, but there are {available} candidates"
        if self.tally.counts:
            text += f" and at least {missing} too few of them are good"
        return DataError("\n".join([f"{text}. Ask for fewer, or give more data.", *self.tally.lines()]))
