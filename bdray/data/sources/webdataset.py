"""Shards as img2dataset writes them: tar files in which the files of a sample share their name up to the first dot."""

import json
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from filelock import FileLock
from pydantic import Field

from bdray import config
from bdray.data import places
from bdray.data.bad_samples import BadSampleError, Kind
from bdray.data.examination import num_threads
from bdray.data.places import Found, Place
from bdray.data.records import Records
from bdray.data.sources.base import PairSource
from bdray.exceptions import DataError
from bdray.registry import component

VERSION = 1
"""Counted up whenever the same shards give another index."""
IMAGES = ("jpg", "jpeg", "png", "webp")
MAX_TEXT_BYTES = 2**20
"""Of a ``.txt`` or ``.json`` file in a shard."""


@component
class Webdataset(PairSource):
    """Tar files that hold ``KEY.jpg`` (or jpeg, png, webp) with ``KEY.txt``, or ``KEY.json`` with a caption in it."""

    type: Literal["webdataset"] = "webdataset"
    path: str = Field(min_length=1)
    """The shards, relative to ``BDRAY_DATA``, or a URL: with ``*``, or with ``{00000..00331}``, all of which must be
    there."""
    caption_key: str = "caption"
    """Where ``KEY.json`` has the caption; only looked at if there is no ``KEY.txt``."""

    def listing(self) -> Any:
        found = places.find(self.path)
        if not found or any(shard.size < 0 for shard in found):
            return None
        return [[shard.url.rpartition("/")[2], shard.size] for shard in found]

    def check_readable(self, field: str) -> None:
        found = places.find(self.path)
        lost = [shard.url for shard in found if shard.size < 0]
        if not found or len(lost) == len(found):
            raise places.missing(f"{field}.path", self.path, "there is no shard at")
        if lost:
            raise DataError(
                f"{field}.path: {len(lost)} of {len(found)} shards are not there: {', '.join(lost[:5])}"
                f"{', ...' if len(lost) > 5 else ''}. Get them, or name those that are there."
            )

    def records(self, field: str, cache: Path) -> "ShardRecords":
        shards = places.find(self.path)
        name = config.fingerprint([VERSION, self.caption_key, self.listing()])
        file = cache / f"index-{name}.json"
        if not file.exists():
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{file}.lock"):
                if not file.exists():
                    self._write_index(shards, file)
        return ShardRecords.from_file(shards, file)

    def _write_index(self, shards: list[Found], file: Path) -> None:
        with ThreadPoolExecutor(num_threads()) as pool:
            found = list(pool.map(lambda shard: index(shard.url, self.caption_key), shards))
        partial = file.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as lines:
            for shard in found:
                lines.write(json.dumps(shard, separators=(",", ":")) + "\n")
        partial.replace(file)


Entry = tuple[str, int, int, str | None, list[str] | None]
"""Key, offset and length of the image, caption, and kind and detail of what is wrong."""


@dataclass
class _Sample:
    """What was found of a sample so far."""

    image: tuple[int, int] | None = None
    texts: dict[str, str] = field(default_factory=dict)
    problem: BadSampleError | None = None


def index(url: str, caption_key: str) -> dict[str, Any]:
    """What a shard holds, as plain JSON; nothing of it is unpacked.

    Returns:
        ``entries`` of all samples in the order of the shard, and ``damage`` if it could not be read to its end.
    """
    samples: dict[str, _Sample] = {}
    damage = None
    with places.open_file(url) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    _note(samples, member, file)
                    tar.members = []  # type: ignore[attr-defined] # or it keeps them all
                # Of a header that is damaged tarfile says nothing: it stops, as at the block of zeros that ends a file.
                file.seek(tar.offset)
                if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    damage = f"breaks off after {len(samples)} samples"
        except OSError as error:
            raise DataError(f"{url}: cannot be read ({error.strerror or error}).") from error
        except (tarfile.TarError, EOFError, ValueError) as error:
            damage = f"{error} after {len(samples)} samples" if str(error) else f"ends after {len(samples)} samples"
    return {"entries": [_entry(key, sample, caption_key) for key, sample in samples.items()], "damage": damage}


def _note(samples: dict[str, _Sample], member: tarfile.TarInfo, file: IO[bytes]) -> None:
    """Add what one member of a shard tells."""
    folder, _, name = member.name.rpartition("/")
    stem, _, suffix = name.partition(".")
    suffix = suffix.lower()
    if member.isdir() or suffix not in (*IMAGES, "txt", "json"):
        return
    sample = samples.setdefault(f"{folder}/{stem}" if folder else stem, _Sample())
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        sample.problem = BadSampleError("unsafe path", repr(member.name[:200]))
    elif not member.isreg():
        sample.problem = BadSampleError("unsafe path", "no plain file")
    elif suffix in IMAGES:
        sample.image = sample.image or (member.offset_data, member.size)
        if member.size > places.MAX_BYTES:
            sample.problem = BadSampleError("absurd size", f"{member.size} bytes")
    elif member.size > MAX_TEXT_BYTES:
        sample.problem = BadSampleError("absurd caption", f"{member.size} bytes")
    else:
        after = file.tell()
        file.seek(member.offset_data)
        sample.texts[suffix] = file.read(member.size).decode("utf-8", "surrogateescape")
        file.seek(after)


def _entry(key: str, sample: _Sample, caption_key: str) -> Entry:
    offset, length = sample.image or (0, 0)
    problem, caption = sample.problem, None
    try:
        caption = _caption(sample, caption_key)
    except BadSampleError as bad:
        problem = problem or bad
    if sample.image is None:
        problem = problem or BadSampleError("no image")
    return key, offset, length, caption, [problem.kind, problem.detail] if problem else None


def _caption(sample: _Sample, caption_key: str) -> str | None:
    if "txt" in sample.texts:
        return sample.texts["txt"]
    try:
        about = json.loads(sample.texts.get("json", "null"))
    except (ValueError, RecursionError) as error:
        raise BadSampleError("no caption", "its JSON file is damaged") from error
    caption = about.get(caption_key) if isinstance(about, dict) else None
    if caption is not None and not isinstance(caption, str):
        raise BadSampleError("caption is no text", f"it is a {type(caption).__name__}")
    return caption


class ShardRecords(Records):
    """Samples of shards, in the order of the shards' names and of their places in them."""

    def __init__(self, shards: list[Found], contents: Iterator[dict[str, Any]]) -> None:
        """Put the indices of all shards one after the other."""
        self._shards, self._entries, self._shard_of = shards, list[Entry](), list[int]()
        damage = []
        for number, (shard, content) in enumerate(zip(shards, contents, strict=True)):
            self._entries += content["entries"]
            self._shard_of += [number] * len(content["entries"])
            if content["damage"]:
                damage.append((shard.url, BadSampleError("damaged shard", content["damage"])))
        self.damage = damage

    @classmethod
    def from_file(cls, shards: list[Found], file: Path) -> "ShardRecords":
        """Read the index."""
        with file.open(encoding="utf-8") as lines:
            return cls(shards, map(json.loads, lines))

    def __len__(self) -> int:
        return len(self._entries)

    def where(self, position: int) -> str:
        return f"{self._shards[self._shard_of[position]].url}: {self._entries[position][0]}"

    def caption(self, position: int) -> object:
        _, _, _, caption, problem = self._entries[position]
        if problem:
            kind, detail = problem
            known: Kind = kind  # type: ignore[assignment]
            raise BadSampleError(known, detail)
        return caption

    def place(self, position: int) -> Place:
        _, offset, length, _, _ = self._entries[position]
        return Place(self._shards[self._shard_of[position]].url, offset, length)
