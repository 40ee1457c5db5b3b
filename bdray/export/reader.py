"""Reading an exported set: whatever is not as the index says is refused, and nothing outside of the folder is read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bdray.data.base import Pairs
from bdray.exceptions import DataError
from bdray.export.captions import Row, damaged, read_rows, show
from bdray.export.folder import CAPTIONS, IMAGES, plain_file, sha256
from bdray.export.images import pixel_hash, read_png
from bdray.export.index import Index, read_index
from bdray.export.writer import Progress, silent
from bdray.pipeline.stages.trigger import TRIGGER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ExportedSet:
    """A set that was read back. All its members have one entry per sample, in the order of the train split."""

    pairs: Pairs
    """As the victim sees them; the labels are those of the clean images."""
    is_poisoned: "NDArray[np.bool_]"
    """Whether each sample is poisoned, bool [N]."""
    samples: "NDArray[np.int64]"
    """Index of each sample in the train split, int64 [N]."""
    original_captions: Sequence[str]
    """The clean captions."""
    index: Index
    """How the set was made."""


def read(folder: Path, *, progress: Progress = silent) -> ExportedSet:
    """Read an exported set into memory and check all of it.

    Args:
        folder: A finished export.
        progress: Told of every image.

    Raises:
        DataError: With file, line and rule, if anything is not as the index says, or does not fit into memory.
    """
    import numpy as np

    index = read_index(folder)
    count, side = len(index.images), index.image_size
    try:
        images = np.empty((count, 3, side, side), np.uint8)
    except MemoryError as error:
        raise DataError(
            f"{folder}: {count} images of {side} px do not fit into memory, {count * 3 * side**2 / 2**30:.0f} GB."
        ) from error
    rows: list[Row] = []
    for row, pixels in entries(folder, index):
        images[len(rows)] = pixels
        rows.append(row)
        progress(len(rows), count)
    return ExportedSet(
        pairs=Pairs(images, [row.caption for row in rows], np.array([row.label for row in rows], np.int64)),
        is_poisoned=np.array([row.is_poisoned for row in rows], bool),
        samples=np.array([row.sample for row in rows], np.int64),
        original_captions=[row.original_caption for row in rows],
        index=index,
    )


def verify(folder: Path, *, progress: Progress = silent) -> Index:
    """Check an exported set against its index without keeping it in memory.

    What the index itself says is taken as true; :func:`bdray.export.reproduce` checks that too.

    Raises:
        DataError: With file, line and rule, if anything is not as the index says.
    """
    index = read_index(folder)
    for done, _ in enumerate(entries(folder, index), 1):
        progress(done, len(index.images))
    return index


def entries(folder: Path, index: Index) -> "Iterator[tuple[Row, NDArray[np.uint8]]]":
    """Each sample, checked: its row and its pixels, uint8 [3, H, W].

    Raises:
        DataError: With file, line and rule, if anything is not as the index says.
    """
    captions = plain_file(folder, CAPTIONS)
    poisoned = {found.sample: found for found in index.poisoned}
    expected, line = iter(index.images.items()), 1
    for line, row in read_rows(captions):
        name, image_hash = next(expected, ("", ""))
        if row.image != name:
            raise damaged(captions, line, f"image: {row.image} must be {name or 'left out'}, says the index")
        decision = poisoned.get(row.sample)
        if row.is_poisoned != (decision is not None):
            raise damaged(captions, line, f"is_poisoned: must be {decision is not None}, says the index")
        original = decision.original_caption if decision else row.caption
        wanted = decision.caption if decision else row.original_caption
        if (row.caption, row.original_caption) != (wanted, original):
            raise damaged(captions, line, f"caption: {show(row.caption)} must be {show(wanted)}, says the index")
        path = plain_file(folder, name)
        pixels = read_png(path, index.image_size)
        if pixel_hash(pixels) != image_hash:
            raise DataError(f"{path}: the pixels of sample {row.sample} are not those of the index. Copy it again.")
        yield row, pixels
    missing = next(expected, None)
    if missing is not None:
        raise damaged(captions, line, f"{missing[0]} must follow, says the index")
    _check_rest(folder, index)


def _check_rest(folder: Path, index: Index) -> None:
    """What is not checked sample by sample."""
    hashes = {CAPTIONS: index.captions_sha256} | ({TRIGGER: index.trigger_sha256} if index.trigger_sha256 else {})
    for name, expected in hashes.items():
        path = plain_file(folder, name)
        if sha256(path) != expected:
            raise DataError(f"{path}: was changed: its hash is not that of the index. Copy it again.")
    extra = next((path for path in (folder / IMAGES).glob("*") if f"{IMAGES}/{path.name}" not in index.images), None)
    if extra is not None:
        raise DataError(f"{extra}: is not in the index. Remove it, or export the set anew.")
