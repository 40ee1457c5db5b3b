"""Images that are unpacked when they are read, for sets whose pixels are too many to be kept."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from bdray.data import places
from bdray.data.bad_samples import BadSampleError
from bdray.data.examination import Picture, num_threads
from bdray.data.places import Place
from bdray.exceptions import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PATHS, SPANS, PACK = "paths.bin", "spans.npy", "images.bin"
"""Of a prepared folder: paths, one after the other; of each image where its path begins and ends in there, and offset
and length in the file that it names; and the bytes of images that are in no local file of their own."""


class StreamedImages:
    """The pixels of N images, the same ones that a memory map would hold."""

    def __init__(self, folder: Path, picture: Picture) -> None:
        """Open a prepared folder.

        Args:
            folder: Holds :data:`PATHS` and :data:`SPANS`.
            picture: What becomes of each file.
        """
        import numpy as np

        self._folder, self._picture = folder, picture
        self._spans: NDArray[np.int64] = np.load(folder / SPANS, mmap_mode="r")
        self._paths = np.memmap(folder / PATHS, np.uint8, "r")

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), 3, self._picture.size, self._picture.size)

    @property
    def dtype(self) -> "np.dtype[np.uint8]":
        import numpy as np

        return np.dtype(np.uint8)

    @property
    def nbytes(self) -> int:
        return prod(self.shape)

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, key: "int | slice | NDArray[np.int64]", /) -> "NDArray[np.uint8]":
        import numpy as np

        chosen = np.arange(len(self))[key]
        if chosen.ndim == 0:
            return self._pixels(int(chosen))
        found = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for place, pixels in enumerate(_pool(os.getpid()).map(self._pixels, chosen.tolist())):
            found[place] = pixels
        return found

    def _pixels(self, index: int) -> "NDArray[np.uint8]":
        place = self._place(index)
        try:
            return self._picture.pixels(places.read(place))
        except BadSampleError as bad:
            raise DataError(
                f"{place.url}: could be read when the data set was prepared, and cannot now ({bad.kind}"
                f"{f': {bad.detail}' if bad.detail else ''}). Put it back, or remove {self._folder} to prepare anew."
            ) from bad

    def _place(self, index: int) -> Place:
        first, last, offset, length = self._spans[index].tolist()
        path = os.fsdecode(self._paths[first:last].tobytes())
        return Place(path if path else str(self._folder / PACK), offset, length)


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of this process; a forked one has none of its parent's."""
    import torch.utils.data

    is_loader = torch.utils.data.get_worker_info() is not None  # one of several, who share the CPUs
    return ThreadPoolExecutor(1 if is_loader else num_threads(), thread_name_prefix="decode")
