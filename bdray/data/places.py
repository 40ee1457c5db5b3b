"""Where data are: local files or URLs, found below a root that every machine has for itself.

Configurations name data by a path relative to the folder or URL in the environment variable ``BDRAY_DATA`` (without it,
to the working folder), so that a study's file is the same on all machines. What is read through a URL is read by
pyarrow (``s3``, ``gs``, ``hdfs``), as the store is, or by fsspec.
"""

import glob
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from bdray.data.bad_samples import BadSampleError
from bdray.exceptions import DataError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from pyarrow.fs import FileSystem

ROOT = "BDRAY_DATA"
MAX_BYTES = 2**26
"""Of one image file (64 MiB)."""
MAX_BRACES = 100_000
SECONDS = {"connect_timeout": 10, "request_timeout": 60}
"""How long an object store's answer may take: the client's 3 s are too few for a busy server."""
PYARROW = ("s3", "gs", "gcs", "hdfs")
"""Schemes that pyarrow knows without further packages."""


class Place(NamedTuple):
    """Where the bytes of one image are."""

    url: str
    """A local path or a URL."""
    offset: int = 0
    length: int = -1
    """-1: to the end of the file."""


class Found(NamedTuple):
    """A file."""

    url: str
    size: int


def is_remote(path: str) -> bool:
    """Whether this is a URL and no local path."""
    return "://" in path


def absolute(path: str) -> str:
    """The local path or URL that a configuration means."""
    root = os.environ.get(ROOT, "")
    if is_remote(path):
        return path
    if is_remote(root) and not Path(path).expanduser().is_absolute():
        return f"{root.rstrip('/')}/{path}"
    return os.path.abspath(Path(root).expanduser() / Path(path).expanduser())


def missing(field: str, path: str, reason: str = "there is nothing at") -> DataError:
    """The error for data that are not where the configuration says."""
    found, root = absolute(path), os.environ.get(ROOT)
    where = f" ({ROOT} is {root})" if root else ""
    hint = "" if found == path else f", or set {ROOT} to the folder or URL that holds {path}"
    said = "" if found == path else f"{path!r}: "
    return DataError(f"{field}: {said}{reason} {found}{where}. Give the place of the data{hint}.")


def find(pattern: str) -> list[Found]:
    """Files by name, for a path or URL with ``{0000..0331}`` and ``*`` in it; every number of a brace, there or not.

    Files that are not there have a size of -1.
    """
    url = absolute(pattern)
    return list(_find_remote(url) if is_remote(url) else _find(url))


def _find(pattern: str) -> tuple[Found, ...]:
    urls: set[str] = set()
    for path in _braces(pattern):
        urls.update((_glob(path) or [path]) if glob.has_magic(path) else [path])
    return tuple(Found(url, size(url)) for url in sorted(urls))


@cache
def _find_remote(pattern: str) -> tuple[Found, ...]:
    """Once in the life of a process, for it takes a request for each file."""
    return _find(pattern)


def size(url: str) -> int:
    """Size of a file in bytes; -1 if there is none.

    Raises:
        DataError: If that cannot be found out.
    """
    try:
        if is_remote(url):
            fs, path = filesystem(url)
            known = fs.info(path)
            return int(known["size"]) if known["type"] == "file" else -1
        entry = Path(url).stat()
        return entry.st_size if stat.S_ISREG(entry.st_mode) else -1
    except (FileNotFoundError, NotADirectoryError):
        return -1
    except OSError as error:
        raise DataError(f"{url}: cannot be read: {_one_line(error)}.") from error


def _braces(pattern: str) -> Iterator[str]:
    """Expand ``{0000..0331}``; the numbers keep the width of the first."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if match is None:
        yield pattern
        return
    first, last, width = int(match[1]), int(match[2]), len(match[1])
    if not first <= last < first + MAX_BRACES:
        raise DataError(f"{pattern!r}: {match[0]} must count upwards, over at most {MAX_BRACES} files.")
    for number in range(first, last + 1):
        yield from _braces(f"{pattern[: match.start()]}{number:0{width}}{pattern[match.end() :]}")


def _glob(pattern: str) -> list[str]:
    if not is_remote(pattern):
        return glob.glob(pattern)  # noqa: PTH207 - Path.glob takes no absolute pattern
    fs, path = filesystem(pattern)
    scheme = pattern.partition("://")[0]
    return [f"{scheme}://{name.partition('://')[2] or name}" for name in fs.glob(path)]


def filesystem(url: str) -> "tuple[AbstractFileSystem, str]":
    """What reads a URL, and the path by which it knows it.

    Raises:
        DataError: If nothing here reads such URLs.
    """
    scheme = url.partition("://")[0]
    try:
        if scheme in PYARROW:
            return _pyarrow(scheme, url)
        from fsspec.core import url_to_fs

        fs, path = url_to_fs(url)
        return fs, str(path)
    except (ImportError, ValueError, OSError) as error:
        raise DataError(f"{url}: cannot be opened: {_one_line(error)}") from error


def _pyarrow(scheme: str, url: str) -> "tuple[AbstractFileSystem, str]":
    bucket = url.removeprefix(f"{scheme}://").partition("/")[0]
    return _pyarrow_bucket(f"{scheme}://{bucket}"), url.removeprefix(f"{scheme}://")


@cache
def _pyarrow_bucket(url: str) -> "AbstractFileSystem":
    import pyarrow.fs
    from fsspec.implementations.arrow import ArrowFSWrapper

    return ArrowFSWrapper(patient(pyarrow.fs.FileSystem.from_uri(url)[0]))


def patient(base: "FileSystem") -> "FileSystem":
    """The same file system of pyarrow's with time for slow answers, which an ``s3://`` URI cannot ask for."""
    if base.type_name != "s3":
        return base
    import pyarrow.fs

    _, (options,) = base.__reduce__()
    return pyarrow.fs.S3FileSystem(**{**options, **SECONDS})


def open_file(url: str) -> IO[bytes]:
    """Open a file, to be read once from its beginning to its end."""
    if not is_remote(url):
        return Path(url).open("rb")
    fs, path = filesystem(url)
    opened: IO[bytes] = fs.open(path, "rb")
    return opened


def read(place: Place) -> bytes:
    """The bytes of an image file.

    Raises:
        BadSampleError: If there is no such file, or if it is no plain one or too large for an image.
    """
    url, offset, length = place
    try:
        if is_remote(url):
            fs, path = filesystem(url)
            if length < 0 and size(url) > MAX_BYTES:
                raise BadSampleError("absurd size", f"{size(url)} bytes")
            return bytes(fs.cat_file(path, start=offset, end=None if length < 0 else offset + length))
        with open(url, "rb", buffering=0, opener=_open_plain) as file:
            if length < 0:
                length = os.fstat(file.fileno()).st_size
            if length > MAX_BYTES:
                raise BadSampleError("absurd size", f"{length} bytes")
            return os.pread(file.fileno(), length, offset)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise BadSampleError("missing file", getattr(error, "strerror", None) or str(error)) from error


def _open_plain(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe, and nothing that is not a plain file."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadSampleError("unsafe path", "no plain file")
    return descriptor


def inside(root: str, name: str) -> str:
    """The path of a file that data name, which has to be below ``root``.

    Args:
        root: From :func:`absolute`.
        name: As it is in the data.

    Raises:
        BadSampleError: If it leads, or a link leads, out of the root.
    """
    if (
        not name
        or "\0" in name
        or "\\" in name
        or PurePosixPath(name).is_absolute()
        or ".." in PurePosixPath(name).parts
    ):
        raise BadSampleError("unsafe path", repr(name[:200]))
    path = f"{root.rstrip('/')}/{name}"
    if not is_remote(root) and not _is_below(os.path.realpath(path), _real(root)):
        raise BadSampleError("unsafe path", f"{name!r} is a link that leaves the folder")
    return path


@cache
def _real(root: str) -> str:
    return os.path.realpath(root)


def _is_below(path: str, root: str) -> bool:
    return path.startswith(root.rstrip("/") + "/")


def names(folder: str) -> list[str]:
    """Sorted names of what is in a folder; empty if there is no such folder."""
    try:
        if not is_remote(folder):
            return sorted(path.name for path in Path(folder).iterdir())
        fs, path = filesystem(folder)
        return sorted(entry.rstrip("/").rpartition("/")[2] for entry in fs.ls(path, detail=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {_one_line(error)}.") from error


def content_hash(url: str) -> str:
    """SHA-256 of a file, computed again only when its size or time of change differ."""
    entry = None if is_remote(url) else Path(url).stat()
    return _content_hash(url, (entry.st_size, entry.st_mtime_ns) if entry else None)


@cache
def _content_hash(url: str, version: Any) -> str:
    with open_file(url) as file:
        found = hashlib.sha256()
        while block := file.read(2**20):
            found.update(block)
        return found.hexdigest()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
