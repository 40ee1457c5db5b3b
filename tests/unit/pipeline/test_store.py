"""The store: a key is finished if and only if its manifest is there, and what is read is what was written."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bdray.exceptions import LostResultError, StoreError
from bdray.pipeline.store import MANIFEST, Manifest, Store

if TYPE_CHECKING:
    from tests.conftest import SmallDisk

KEY = "0123456789abcdef"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path, tmp_path: Path) -> Store:
    return Store(str(root), tmp_path / "cache")


def write(folder: Path, content: str) -> Mapping[str, Path]:
    """A file to put into a store."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    path.write_text(content)
    return {path.name: path}


def save(store: Store, folder: Path, content: str = "weights", key: str = KEY) -> Manifest:
    return store.save("defend", key, {"metrics": {"loss": 0.5}}, write(folder, content))


def read(store: Store, key: str = KEY) -> str:
    return store.fetch("defend", key, "model.safetensors").read_text()


def test_what_was_saved_is_found(store: Store, tmp_path: Path) -> None:
    # Nothing is there before.
    assert store.find("defend", KEY) is None
    saved = save(store, tmp_path / "made")
    # Afterwards the manifest and the file are there, for this stage and key alone.
    assert store.find("defend", KEY) == saved
    assert saved["metrics"] == {"loss": 0.5}
    assert saved["files"]["model.safetensors"]["bytes"] == 7
    assert read(store) == "weights"
    assert store.find("victim", KEY) is None
    assert store.find("defend", KEY[::-1]) is None


@contextmanager
def claims(store: Store, act: Callable[[], None]) -> Iterator[None]:
    """Something happens right before the manifest is written."""
    original = store.place.claim

    def claim(path: str, content: bytes) -> bool:
        act()
        return original(path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.place, "claim", claim)
        yield


def die() -> None:
    raise KeyboardInterrupt


def test_without_its_manifest_a_stage_is_not_finished(root: Path, store: Store, tmp_path: Path) -> None:
    with claims(store, die), pytest.raises(KeyboardInterrupt):
        save(store, tmp_path / "made")
    # The files were written first, so half a result is no result.
    assert [path for path in root.rglob("*") if path.is_file()] != []
    assert store.find("defend", KEY) is None
    with pytest.raises(LostResultError, match="has no file"):
        read(store)
    save(store, tmp_path / "made")
    # Doing it again completes it.
    assert read(store) == "weights"


def test_two_writers_of_one_key_are_harmless(root: Path, store: Store, tmp_path: Path) -> None:
    def write_as(writer: Store) -> None:
        save(writer, tmp_path / "other", "of the first")

    other = Store(str(root), tmp_path / "cache")
    with claims(store, lambda: write_as(other)):
        found = save(store, tmp_path / "made", "of the second")
    # On a GPU two trainings of one key differ in the last bits. Whoever is first stays, and the other goes on with it.
    assert read(store) == "of the first"
    assert found == other.find("defend", KEY)
    threads = [
        threading.Thread(target=save, args=(store, tmp_path / f"made {turn}{number}", f"weights {number}", key))
        for turn in range(10)
        for number in range(4)
        for key in [f"{turn:016x}"]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Real threads, ten keys: each can be read and is that of one of its writers.
    assert {read(store, f"{turn:016x}") for turn in range(10)} <= {f"weights {number}" for number in range(4)}


def test_a_damaged_file_is_set_aside(root: Path, store: Store, tmp_path: Path) -> None:
    save(store, tmp_path / "made")
    (path,) = root.rglob("model*")
    path.write_text("wights!")  # as long as what was there
    with pytest.raises(LostResultError) as error:
        read(store)
    # Where, what, and what to do.
    assert str(root) in str(error.value)
    assert "is damaged: its hash is not the manifest's. It was set aside; run the study again" in str(error.value)
    assert error.value.key == KEY
    # It is kept for whoever wants to know why, but it is no result any more.
    (folder,) = (root / "damaged").iterdir()
    assert sorted(file.name for file in folder.iterdir()) == ["manifest.json", path.name, "note.json"]
    assert store.damaged() == {folder.name: f"defend/{KEY}/{path.name}: its hash is not the manifest's"}
    assert store.find("defend", KEY) is None
    save(store, tmp_path / "made")
    # Another computation takes its place.
    assert read(store) == "weights"
    next(root.glob("defend/*/model*")).unlink()
    with pytest.raises(LostResultError, match="is damaged: it is gone"):
        read(store)


def test_a_lost_result_survives_the_way_between_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(LostResultError("it is gone", "key")))
    # Ray sends errors pickled.
    assert (str(error), error.key) == ("it is gone", "key")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"", b"[]", b'{"stage": "defend", "key": "other"}'])
def test_a_damaged_manifest_makes_place(root: Path, store: Store, tmp_path: Path, content: bytes) -> None:
    save(store, tmp_path / "made")
    (root / "defend" / KEY / MANIFEST).write_bytes(content)
    # It is no result; to look at it changes nothing.
    assert store.find("defend", KEY) is None
    assert not (root / "damaged").exists()
    save(store, tmp_path / "made")
    assert read(store) == "weights"
    assert next(iter(store.damaged().values())).startswith(f"defend/{KEY}/manifest.json: ")


def test_a_number_that_was_changed_is_no_result(root: Path, store: Store, tmp_path: Path) -> None:
    saved = save(store, tmp_path / "made")
    path = root / "defend" / KEY / MANIFEST
    path.write_text(path.read_text().replace('"loss": 0.5', '"loss": 0.4'))
    with pytest.raises(ValueError, match="its hash is not the one it was written with"):
        store.manifest("defend", KEY)
    assert store.find("defend", KEY) is None
    path.write_text(json.dumps({name: value for name, value in saved.items() if name != "seal"}))
    # Results of versions that had no seal stay results.
    assert (store.find("defend", KEY) or {})["metrics"] == {"loss": 0.5}


def test_an_unwritable_store_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StoreError) as error:
        Store(str(file / "store"), tmp_path).check_writable()
    # Permissions mean nothing to root; a path below a file is unwritable for everyone.
    assert str(file / "store") in str(error.value)
    assert str(error.value).endswith("Give a place you may write with --store.")


def test_a_full_disk_is_not_filled_with_halves_of_files(
    small_disk: "Callable[[int], SmallDisk]", tmp_path: Path
) -> None:
    disk = small_disk(1)
    store = Store(str(disk.folder / "store"), tmp_path / "cache")
    store.check_writable()
    disk.fill(leave=100_000)
    with pytest.raises(StoreError, match=r"cannot be written .*No space left on device"):
        save(store, tmp_path / "out", "x" * 300_000)
    # Nothing of it stays, so that others have what room there is.
    assert store.place.files() == []
    assert store.find("defend", KEY) is None
    disk.free()
    save(store, tmp_path / "out", "x" * 300_000)
    assert read(store) == "x" * 300_000


def test_a_store_that_does_not_exist_yet_is_empty_and_writable(root: Path, store: Store) -> None:
    # To look into it does not create it, so that a dry run leaves nothing behind.
    assert store.find("defend", KEY) is None
    assert not root.exists()
    store.check_writable()
    # The probe is gone.
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("uri", ["nowhere://bucket/path", "https://example.org/store", "s3:///"])
def test_an_unknown_place_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as error:
        Store(uri, tmp_path)
    assert f"store {uri!r}: is not a place that can be opened" in str(error.value)
    assert "Give a folder or a URI such as s3://bucket/path." in str(error.value)


def test_a_file_uri_is_the_folder(root: Path, store: Store, tmp_path: Path) -> None:
    by_uri = Store(f"file://{root}", tmp_path / "cache")
    save(by_uri, tmp_path / "made")
    # The same place under both names, with no copies made.
    assert read(store) == "weights"
    assert by_uri.fetch("defend", KEY, "model.safetensors").is_relative_to(root)


def test_a_relative_store_does_not_follow_the_working_folder(
    root: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Store(root.name, tmp_path / "cache")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    save(relative, tmp_path / "made")
    assert read(store) == "weights"


def test_a_manifest_is_plain_json_without_nan(store: Store, root: Path, tmp_path: Path) -> None:
    save(store, tmp_path / "made")
    found: dict[str, Any] = json.loads((root / "defend" / KEY / MANIFEST).read_text())
    # Everyone can read it.
    assert found["key"] == KEY
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.save("defend", KEY[::-1], {"metrics": {"loss": float("nan")}}, {})
    # And what is not a number is no result.
    assert store.find("defend", KEY[::-1]) is None
