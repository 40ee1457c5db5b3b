"""What the processes of a node share through files: arrays that the first one to ask makes, within a limit."""

import os
import shutil
from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from bdray.exceptions import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CACHE_GIB = "BDRAY_CACHE_GIB"
"""Environment variable: what all arrays in a cache (pixels, views, tokens) may take together."""
DEFAULT_GIB = 100.0


def room(cache: Path) -> int:
    """Bytes that arrays may still take: of the limit, and of the disk, a tenth of which is left to others."""
    given = os.environ.get(CACHE_GIB, str(DEFAULT_GIB))
    try:
        limit = float(given) * 2**30
    except ValueError as error:
        raise ConfigError(f"{CACHE_GIB}: {given!r} is no number of GiB. Give one, such as 200.") from error
    used = sum(path.stat().st_size for pattern in ("*.npy", "*/*.npy") for path in cache.glob(pattern))
    return int(min(limit - used, 0.9 * shutil.disk_usage(cache).free))


def shared(
    path: Path, shape: tuple[int, ...], dtype: "type[np.generic]", make: Callable[[], "Iterable[NDArray[Any]]"]
) -> "NDArray[Any] | None":
    """An array that is made once for all processes of the node; those that ask meanwhile wait for it.

    Args:
        path: Named for everything that decides the values, in the cache. It appears whole.
        shape: Of the array.
        dtype: Of its values.
        make: Gives its values in parts, from the first to the last one; only called if the array is not there.

    Returns:
        A memory map, whose changes stay in this process; None if it is not there and there is no room for it.

    Raises:
        DataError: If it cannot be written.
    """
    import numpy as np

    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():  # nobody else has made it meanwhile
                if prod(shape) * np.dtype(dtype).itemsize > room(path.parent):
                    return None
                _write(path, shape, np.dtype(dtype), make())
    found: NDArray[Any] = np.load(path, mmap_mode="c")
    return found


def _write(path: Path, shape: tuple[int, ...], dtype: "np.dtype[Any]", parts: "Iterable[NDArray[Any]]") -> None:
    """Write from front to back: a disk that is full gives an error then, where a memory map would kill the process."""
    import numpy as np

    partial = path.with_suffix(".partial")  # what a process left that died is written over; we hold the lock
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    try:
        with partial.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for part in parts:
                assert part.dtype == dtype and part.shape[1:] == shape[1:]
                file.write(np.ascontiguousarray(part).data)
        partial.replace(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}). Make room, or lower {CACHE_GIB}."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
