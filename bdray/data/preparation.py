"""Preparing a split, once on each node: from candidates in files to samples that can be read by their number."""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from bdray.data import places
from bdray.data.base import Images, Pairs
from bdray.data.cache import CACHE_GIB, room
from bdray.data.examination import Picture, Sample, Selection
from bdray.data.records import Draw, Records
from bdray.data.streamed import PACK, PATHS, SPANS, StreamedImages
from bdray.exceptions import DataError

IMAGES, CAPTIONS, LABELS, NOTES = "images.npy", "captions.txt", "labels.npy", "notes.json"
"""Of a prepared folder. Where it has no :data:`IMAGES`, these are unpacked when they are read."""
REPORT_SECONDS = 60
"""Between two lines in the log of a preparation."""

_log = logging.getLogger(__name__)


def load(folder: Path, make: Callable[[], Draw], picture: Picture, source: str) -> Pairs:
    """Read a prepared split, preparing it first if it is not there.

    Args:
        folder: Named for everything that decides the samples, in the cache.
        make: Gives the draw; only called for a preparation.
        picture: What becomes of image files.
        source: Names the data in errors.

    Raises:
        DataError: If the data cannot be read, or are not good enough.
    """
    import numpy as np

    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():  # nobody else has prepared it meanwhile
                _prepare(folder, make(), picture, source)
    is_whole = (folder / IMAGES).exists()
    images: Images = np.load(folder / IMAGES, mmap_mode="r") if is_whole else StreamedImages(folder, picture)
    return Pairs(images, known_captions(folder) or [], np.load(folder / LABELS))


def known_captions(folder: Path) -> list[str] | None:
    """The captions of a prepared split; None if it is not there."""
    path = folder / CAPTIONS
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else None


def notes(folder: Path) -> dict[str, Any]:
    """What manifests say of a prepared split; empty if it is not there."""
    path = folder / NOTES
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


class _Writer(Protocol):
    """Where the images of a preparation go."""

    storage: str

    def add(self, sample: Sample) -> None: ...

    def close(self) -> None: ...


def _prepare(folder: Path, draw: Draw, picture: Picture, source: str) -> None:
    """Make the folder; it appears all at once."""
    import numpy as np

    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that died; we hold the lock
    selection = Selection(draw, picture, source, _logger(source))
    captions, labels, content = [], [], hashlib.sha256()
    try:
        partial.mkdir()
        with _writer(partial, draw, picture) as writer:
            for sample in selection.samples():
                writer.add(sample)
                captions.append(sample.caption)
                labels.append(sample.label)
                content.update(sample.digest)
        (partial / CAPTIONS).write_text("".join(f"{caption}\n" for caption in captions), encoding="utf-8")
        np.save(partial / LABELS, np.array(labels, np.int64))
        found = {
            "num_samples": len(captions),
            "num_examined": selection.examined,
            "bad_samples": selection.tally.as_json(),
            "content": content.hexdigest()[:16],
            "storage": writer.storage,
        }
        (partial / NOTES).write_text(json.dumps(found, indent=1), encoding="utf-8")
        partial.rename(folder)
    except OSError as error:
        raise DataError(
            f"{source}: cannot be prepared in {folder.parent} ({error.strerror or error}). Make room, or lower "
            f"{CACHE_GIB}."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _writer(folder: Path, draw: Draw, picture: Picture) -> Iterator[_Writer]:
    needed = draw.count * 3 * picture.size**2
    writer = _Pixels(folder, draw.count, picture) if needed <= room(folder.parent) else _Packed(folder, draw.records)
    try:
        yield writer
    finally:
        writer.close()


class _Pixels:
    """All pixels in one file, which is read as a memory map.

    It is written from front to back, for a disk that is full then gives an error; a memory map would kill the process.
    """

    storage = "memory map"

    def __init__(self, folder: Path, count: int, picture: Picture) -> None:
        import numpy as np

        self._file = (folder / IMAGES).open("wb")
        shape = (count, 3, picture.size, picture.size)
        np.lib.format.write_array_header_1_0(self._file, {"descr": "|u1", "fortran_order": False, "shape": shape})

    def add(self, sample: Sample) -> None:
        self._file.write(sample.pixels.data)

    def close(self) -> None:
        self._file.close()


class _Packed:
    """Where each image file is; those that are in no local file are copied, as they are."""

    storage = "decoded when read"

    def __init__(self, folder: Path, records: Records) -> None:
        self._folder, self._records = folder, records
        self._paths, self._pack = (folder / PATHS).open("wb"), (folder / PACK).open("wb")
        self._known: dict[str, tuple[int, int]] = {}
        self._spans: list[tuple[int, int, int, int]] = []

    def add(self, sample: Sample) -> None:
        place = self._records.place(sample.position)
        if place is None or places.is_remote(place.url):
            place = places.Place("", self._pack.tell(), len(sample.packed))
            self._pack.write(sample.packed)
        if place.url not in self._known:
            name = os.fsencode(place.url)
            first = self._paths.tell()
            self._paths.write(name)
            self._known[place.url] = (first, first + len(name))
        self._spans.append((*self._known[place.url], place.offset, place.length))

    def close(self) -> None:
        import numpy as np

        if not self._paths.tell():  # an empty file cannot be mapped
            self._paths.write(b"\0")
        self._paths.close()
        self._pack.close()
        np.save(self._folder / SPANS, np.array(self._spans, np.int64).reshape(-1, 4))


def _logger(source: str) -> Callable[[int, int], None]:
    """Says from time to time how far a long preparation is."""
    last = [time.monotonic()]

    def tell(done: int, total: int) -> None:
        if time.monotonic() - last[0] > REPORT_SECONDS:
            last[0] = time.monotonic()
            _log.info("%s: %d of %d samples are prepared", source, done, total)

    return tell
