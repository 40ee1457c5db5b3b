"""The store on a real S3 server: the same promises as in a folder, through errors and slow answers."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("moto", reason="needs an S3 server: pip install 'moto[s3]' flask flask-cors")

from bdray.exceptions import LostResultError, StoreError
from bdray.pipeline import place
from bdray.pipeline.store import MANIFEST, Store
from bdray.store import entries
from bdray.store.gc import delete, garbage
from tests.object_store import ENVIRONMENT, ObjectStore, object_store

KEY = "0123456789abcdef"
NAME = "model.safetensors"
ATTEMPTS = 3
"""That the AWS client makes by itself."""


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        with object_store() as store:
            yield store


@pytest.fixture
def store(server: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(place, "PAUSES", (0.01, 0.01))
    yield Store(server.uri(tmp_path.name), tmp_path / "cache")
    server.faults.clear()


def save(store: Store, folder: Path, content: str = "weights", key: str = KEY) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(content)
    store.save("defend", key, {"metrics": {"loss": 0.5}}, {NAME: folder / NAME})


def read(store: Store, key: str = KEY) -> str:
    return store.fetch("defend", key, NAME).read_text()


def test_what_was_saved_is_found(store: Store, tmp_path: Path) -> None:
    store.check_writable()
    assert store.find("defend", KEY) is None
    save(store, tmp_path / "made")
    found = store.find("defend", KEY)
    assert found is not None
    assert found["metrics"] == {"loss": 0.5}
    assert read(store) == "weights"
    # Only what was saved is there, and the probe is gone.
    assert [stored.path.rpartition("/")[2][:8] for stored in store.place.files()] == [MANIFEST[:8], NAME[:5] + "-9a"]
    assert [manifest["key"] for manifest in store.manifests("defend", 5)] == [KEY]


def test_files_are_copied_once(store: Store, server: ObjectStore, tmp_path: Path) -> None:
    save(store, tmp_path / "made")
    copy = store.fetch("defend", KEY, NAME)
    assert copy.is_relative_to(tmp_path / "cache")
    server.requests.clear()
    read(store)
    # The second time only the manifest travels.
    assert {request.rpartition("/")[2] for request in server.requests} == {MANIFEST}
    # An unfinished stage's state is local, too.
    assert store.workspace("defend", KEY).is_relative_to(tmp_path / "cache")
    copy.write_text("wights")
    # A damaged copy is made anew, for the store itself is fine.
    assert read(store) == "weights"
    assert store.damaged() == {}


def test_a_damaged_object_is_set_aside(store: Store, tmp_path: Path) -> None:
    save(store, tmp_path / "made")
    (path,) = [stored.path for stored in store.place.files() if "model" in stored.path]
    store.place.remove(path)
    store.place.claim(path, b"wights!")  # as long as what was there
    with pytest.raises(LostResultError, match=r"is damaged: its hash is not the manifest's\. It was set aside"):
        read(store)
    # Named, kept for whoever wants to know why, and no result any more.
    assert list(store.damaged().values()) == [f"{path}: its hash is not the manifest's"]
    assert store.find("defend", KEY) is None
    save(store, tmp_path / "made")
    assert read(store) == "weights"


def test_another_machine_goes_on_with_a_training(store: Store, tmp_path: Path) -> None:
    other = Store(store.uri, tmp_path / "another machine")
    names = [each.workspace("defend", KEY) / "train" / "checkpoint" for each in (store, other)]
    for path in names:
        path.parent.mkdir(parents=True)
    here, there = (each.copies for each in (store, other))
    assert here is not None
    assert there is not None
    names[1].write_text("of an earlier attempt")
    # What the store does not have is nobody's: the workers of a group must begin at the same epoch.
    there.get(names[1])
    assert not names[1].exists()
    names[0].write_text("one epoch")
    here.put(names[0])
    there.get(names[1])
    assert names[1].read_text() == "one epoch"
    names[1].write_text("two epochs")
    there.put(names[1])
    here.get(names[0])
    # The latest one, whoever made it.
    assert names[0].read_text() == "two epochs"
    store.clear_workspace("defend", KEY)
    assert store.place.files() == []
    assert not names[0].exists()
    assert Store(str(tmp_path / "folder"), tmp_path).copies is None


def test_a_store_that_takes_no_copy_does_not_end_a_training(
    store: Store, server: ObjectStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = store.workspace("defend", KEY) / "checkpoint"
    path.parent.mkdir(parents=True)
    path.write_text("one epoch")
    assert store.copies is not None
    server.faults[:] = [403]
    store.copies.put(path)
    assert "a checkpoint is on this machine only: store 's3://" in caplog.text
    # Nor does it if another process finished the stage, and removed the file.
    store.copies.put(path.with_name("gone"))


def test_gc_finds_the_states_of_trainings_that_nobody_needs(store: Store) -> None:
    for key in (KEY, "feedfeedfeedfeed"):
        store.place.claim(f"unfinished/defend-{key}/train/checkpoint", b"state")
    found, _ = garbage(store, entries.read(store), {KEY}, hours=0, with_unfinished=True)
    assert [(one.what, one.name, one.bytes) for one in found] == [
        ("unfinished", "unfinished/defend-feedfeedfeedfeed", 5)
    ]
    delete(store, found)
    # What a study would go on from stays.
    assert [file.path for file in store.place.files()] == [f"unfinished/defend-{KEY}/train/checkpoint"]


@pytest.mark.parametrize("fault", [500, 503, 0.3])
def test_passing_trouble_is_waited_for(store: Store, server: ObjectStore, tmp_path: Path, fault: int | float) -> None:
    server.faults[:] = [fault] * 3
    save(store, tmp_path / "made")
    server.faults[:] = [fault] * 3
    # Nobody notices.
    assert read(store) == "weights"
    assert server.faults == []


@pytest.mark.slow
def test_longer_trouble_than_the_client_bears(store: Store, server: ObjectStore, tmp_path: Path) -> None:
    save(store, tmp_path / "made")
    server.faults[:] = [503] * (ATTEMPTS + 1)
    # The client gives up once; we don't.
    assert read(store) == "weights"


@pytest.mark.slow
def test_an_answer_may_take_longer_than_the_client_allows(store: Store, server: ObjectStore, tmp_path: Path) -> None:
    save(store, tmp_path / "made")
    server.faults[:] = [4.0]  # its own limit is 3 s
    server.requests.clear()
    assert read(store) == "weights"
    # Asked for once, not again and again by an impatient client.
    assert len([request for request in server.requests if request.startswith("GET")]) == 2


@pytest.mark.slow
def test_trouble_that_stays_is_told_in_one_line(store: Store, server: ObjectStore, tmp_path: Path) -> None:
    server.faults[:] = [503] * 1000
    with pytest.raises(
        StoreError, match=r"defend/0123456789abcdef/manifest.json cannot be read \(.*HTTP status 503"
    ) as told:
        store.find("defend", KEY)
    assert "\n" not in str(told.value)


def test_a_refusal_is_told_at_once(store: Store, server: ObjectStore, tmp_path: Path) -> None:
    server.faults[:] = [403] * 100
    with pytest.raises(
        StoreError, match=r"cannot be (read|written) \(.*ACCESS_DENIED.*\)\. Give a place you may write"
    ):
        store.check_writable()
    # To ask again would not help.
    assert len(server.faults) > 95
    server.faults.clear()
    with pytest.raises(StoreError, match="NO_SUCH_BUCKET"):
        Store(store.uri.replace("bucket", "nobucket"), tmp_path).check_writable()


def test_credentials_do_not_belong_into_the_uri(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as told:
        Store("s3://AKIA:pa5sw0rd@bucket/store", tmp_path)
    assert "pa5sw0rd" not in str(told.value)
    assert "s3://…@bucket/store: has credentials in it" in str(told.value)
    assert "AWS_ACCESS_KEY_ID" in str(told.value)


def test_writers_of_one_key_do_not_disturb_each_other(store: Store, tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=save, args=(store, tmp_path / f"made {number}", f"weights {number}"))
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Whoever was first, manifest and file fit together.
    assert read(store) in {f"weights {number}" for number in range(6)}
    save(store, tmp_path / "late", "of the latecomer")
    assert read(store) != "of the latecomer"


def test_a_damaged_manifest_makes_place(store: Store, tmp_path: Path) -> None:
    save(store, tmp_path / "made")
    path = f"defend/{KEY}/{MANIFEST}"
    changed = json.loads(store.place.read(path)) | {"metrics": {"loss": 0.4}}
    store.place.remove(path)
    store.place.claim(path, json.dumps(changed).encode())
    # A number that somebody changed is nobody's result.
    assert store.find("defend", KEY) is None
    save(store, tmp_path / "made")
    assert (store.find("defend", KEY) or {})["metrics"] == {"loss": 0.5}
    assert list(store.damaged().values()) == [f"{path}: its hash is not the one it was written with"]
