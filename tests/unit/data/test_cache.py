"""Arrays that processes share: made once, whole or not at all, within a limit."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bdray.data.cache import room, shared
from bdray.exceptions import DataError

SHAPE = 6, 4


def parts() -> Iterator[NDArray[np.int32]]:
    yield np.arange(8, dtype=np.int32).reshape(2, 4)
    yield np.arange(8, 24, dtype=np.int32).reshape(4, 4)[::-1][::-1]


def test_parts_become_one_array_that_is_read_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "some.npy"
    first = shared(path, SHAPE, np.int32, parts)
    assert first is not None
    assert np.array_equal(first, np.arange(24).reshape(SHAPE))
    first[0, 0] = 99
    # Changes stay with who made them, and nobody makes it again.
    second = shared(path, SHAPE, np.int32, lambda: pytest.fail("made again"))
    assert second is not None
    assert isinstance(second, np.memmap)
    assert second[0, 0] == 0


def test_those_who_ask_meanwhile_wait(tmp_path: Path) -> None:
    made: list[int] = []
    found: list[NDArray[np.int32] | None] = []

    def slowly() -> Iterator[NDArray[np.int32]]:
        made.append(threading.get_ident())
        threading.Event().wait(0.2)
        yield from parts()

    threads = [
        threading.Thread(target=lambda: found.append(shared(tmp_path / "a.npy", SHAPE, np.int32, slowly)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(found) == 4
    assert all(one is not None and np.array_equal(one, np.arange(24).reshape(SHAPE)) for one in found)


def test_a_death_leaves_nothing_that_counts(tmp_path: Path) -> None:
    def dying() -> Iterator[NDArray[np.int32]]:
        yield next(parts())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shared(tmp_path / "a.npy", SHAPE, np.int32, dying)
    assert not list(tmp_path.glob("*.npy"))
    # What a kill leaves is written over.
    (tmp_path / "a.partial").write_bytes(b"half of it")
    found = shared(tmp_path / "a.npy", SHAPE, np.int32, parts)
    assert found is not None
    assert np.array_equal(found, np.arange(24).reshape(SHAPE))
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.suffix != ".lock") == [".npy"]


def test_without_room_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "images.npy", np.zeros(1000, np.uint8))
    monkeypatch.setenv("BDRAY_CACHE_GIB", str(1200 / 2**30))
    # Pixels, and whatever else is shared, take from the same limit.
    assert room(tmp_path) == 1200 - 1128
    assert shared(tmp_path / "a.npy", SHAPE, np.int32, parts) is None
    monkeypatch.setenv("BDRAY_CACHE_GIB", str(1300 / 2**30))
    assert shared(tmp_path / "a.npy", SHAPE, np.int32, parts) is not None
    # What is there is read, however little room is left.
    monkeypatch.setenv("BDRAY_CACHE_GIB", "0")
    assert shared(tmp_path / "a.npy", SHAPE, np.int32, parts) is not None
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.delenv("BDRAY_CACHE_GIB")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    assert shared(tmp_path / "b.npy", SHAPE, np.int32, parts) is None


def test_a_disk_that_gets_full_says_so(tmp_path: Path) -> None:
    def full() -> Iterator[NDArray[np.int32]]:
        yield next(parts())
        raise OSError(28, os.strerror(28))

    with pytest.raises(DataError, match=r"a\.npy: cannot be written \(No space left on device\)\. Make room, or lower"):
        shared(tmp_path / "a.npy", SHAPE, np.int32, full)
    assert not (tmp_path / "a.partial").exists()
