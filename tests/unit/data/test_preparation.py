"""Prepared sets: the same whatever the machine, in memory or decoded when read, made once, or refused with a reason."""

import hashlib
import json
import multiprocessing
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdray.attacks.attack import Attack
from bdray.attacks.triggers.badnet import BadNet
from bdray.data import examination, preparation
from bdray.data.base import Images, Pairs
from bdray.data.files import Files
from bdray.data.streamed import PACK, StreamedImages
from bdray.data.subset import take
from bdray.exceptions import ConfigError, DataError
from bdray.objective import ContrastiveObjective
from bdray.testing import tiny_files, tiny_model, tiny_recipe, tiny_tokenizer
from bdray.training.ahead import ahead
from bdray.training.session import Session

ShardMaker = Callable[[Path, Mapping[str, bytes]], Path]
PairsMaker = Callable[..., dict[str, bytes]]


def shards(path: str, **fields: Any) -> dict[str, Any]:
    return {"type": "webdataset", "path": path, "num_samples": 20} | fields


@pytest.fixture
def data(tmp_path: Path, shard: ShardMaker, pairs: PairsMaker) -> Files:
    """40 pairs in two shards; three are bad."""
    broken = pairs(20)
    broken["000000003.jpg"] = b"no image"
    broken["000000007.txt"] = b" "
    broken["000000007.json"] = b"{}"
    shard(tmp_path / "0.tar", broken)
    again = {name: content for name, content in pairs(20, first=20).items() if "25" not in name}
    again |= {name.replace("24", "25"): content for name, content in again.items() if "24" in name}
    shard(tmp_path / "1.tar", again)
    return tiny_files(tmp_path / "tiny", train=shards(f"{tmp_path}/*.tar", max_bad_share=0.3), finetune=None)


def equal(first: Pairs, second: Pairs) -> bool:
    same = list(first.captions) == list(second.captions) and np.array_equal(first.labels, second.labels)
    return same and np.array_equal(first.images[:], second.images[:])


def streamed(data: Files, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Pairs:
    with monkeypatch.context() as patch:
        patch.setenv("BDRAY_CACHE_GIB", "0")
        pairs = data.load("train", cache)
    assert isinstance(pairs.images, StreamedImages)
    return pairs


def test_streamed_and_mapped_images_are_the_same(data: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mapped, lazy = data.load("train", tmp_path / "a"), streamed(data, tmp_path / "b", monkeypatch)
    assert isinstance(mapped.images, np.memmap)
    assert equal(mapped, lazy)
    for images in (mapped.images, lazy.images, take(lazy, np.arange(20)).images):
        assert len(images) == 20
        assert images.shape == (20, 3, 32, 32)
        assert images.dtype == np.uint8
        assert images.nbytes == 20 * 3 * 32 * 32
    # Whatever way they are asked for: one, a slice, positions in any order and more than once.
    whole = np.array(mapped.images)
    some = np.array([5, 1, 19, 1])
    views: list[tuple[Images, Any]] = [(lazy.images, whole), (take(lazy, some).images, whole[some])]
    for images, expected in views:
        for key in (0, -1, slice(None), slice(1, 3), np.array([3, 0, 2, 2]), np.array([], np.int64)):
            assert np.array_equal(images[key], expected[key])


def test_training_on_streamed_images_is_the_same(data: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = []
    for pairs in (data.load("train", tmp_path / "a"), streamed(data, tmp_path / "b", monkeypatch)):
        poisoning = Attack(trigger=BadNet(size=4), num_poisoned=6).poison(pairs.captions, seed=0)
        model = tiny_model()
        session = Session(tokenizer=tiny_tokenizer(), seed=0)
        session.train(
            model, ContrastiveObjective(), tiny_recipe(batch_size=8), pairs.images, pairs.captions, poisoning=poisoning
        )
        weights.append(model.state_dict())
    # To the last bit, through poisoning, batches and two epochs.
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_loader_processes_decode_in_one_thread_each(
    data: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lazy = streamed(data, tmp_path / "b", monkeypatch)
    monkeypatch.setattr("bdray.data.streamed.num_threads", lambda: 3)

    def decode(start: int) -> tuple[np.ndarray[Any, Any], int]:
        images = lazy.images[start : start + 10]
        return images, sum(thread.name.startswith("decode") for thread in threading.enumerate())

    images, threads = zip(*ahead(decode, [0, 10], processes=2), strict=True)
    # Or as many processes as there are CPUs would have as many threads each.
    assert threads == (1, 1)
    assert np.array_equal(np.concatenate(images), lazy.images[:])


def test_images_from_a_bucket_are_kept_as_they_are(
    data: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in tmp_path.glob("*.tar"):
        memory.pipe(f"/prepared/{path.name}", path.read_bytes())
    remote = tiny_files(tmp_path / "tiny", train=shards("memory://prepared/*.tar", max_bad_share=0.3), finetune=None)
    lazy = streamed(remote, tmp_path / "b", monkeypatch)
    memory.rm("/prepared", recursive=True)
    # Prepared once, they are read from this machine's disk.
    assert next((tmp_path / "b").glob(f"*/{PACK}")).stat().st_size > 0
    assert equal(lazy, data.load("train", tmp_path / "a"))


@pytest.mark.parametrize("gib", ["1", "0"])
def test_the_number_of_threads_changes_nothing(
    data: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gib: str
) -> None:
    found, notes = [], []
    monkeypatch.setenv("BDRAY_CACHE_GIB", gib)
    for threads, block in ((1, 512), (7, 3)):
        monkeypatch.setattr(examination, "num_threads", lambda threads=threads: threads)
        monkeypatch.setattr(examination, "BLOCK", block)
        cache = tmp_path / f"cache{threads}"
        found.append(data.load("train", cache))
        notes.append(data.notes("train", cache))
    assert equal(*found)
    # And so is what the manifest will say.
    assert notes[0] == notes[1]


def test_manifests_tell_what_was_left_out(data: Files, tmp_path: Path) -> None:
    assert data.notes("train", tmp_path) == {}
    everything = tiny_files(tmp_path / "tiny", train=shards(f"{tmp_path}/*.tar", num_samples=37, max_bad_share=0.3))
    pairs = everything.load("train", tmp_path)
    notes = everything.notes("train", tmp_path)
    assert len(set(pairs.captions)) == 37
    # Three of forty are bad, by kind and by name; duplicates count once.
    assert notes["bad_samples"]["counts"] == {"broken image": 1, "duplicate": 1, "no caption": 1}
    assert "0.tar: 000000003" in notes["bad_samples"]["examples"]["broken image"][0]
    assert (notes["num_samples"], notes["num_examined"]) == (37, 40)
    assert json.loads(json.dumps(notes)) == notes


def test_too_many_bad_samples_stop_with_a_list(tmp_path: Path, shard: ShardMaker, pairs: PairsMaker) -> None:
    members = pairs(40)
    for number in (5, 6, 7, 8):
        members[f"00000000{number}.txt"] = b""
        members[f"00000000{number}.json"] = b"{}"
    shard(tmp_path / "0.tar", members)

    def load(share: float, count: int = 36) -> Pairs:
        train = shards(f"{tmp_path}/*.tar", num_samples=count, max_bad_share=share)
        return tiny_files(tmp_path / "tiny", train=train).load("train", tmp_path / "cache")

    with pytest.raises(DataError, match=r"data\.train: \d of the first \d+ samples are bad.*\n.*no caption\n.*0000000"):
        load(0.05)
    # Nothing is left behind that the next one would take for the data.
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    # 4 of 40 are a tenth exactly.
    assert len(load(0.1)) == 36
    with pytest.raises(DataError, match=r"37 samples are asked for, but there are 40 candidates and at least 1"):
        load(0.5, 37)


def test_subsets_are_drawn_by_seed_and_do_not_meet(data: Files, tmp_path: Path) -> None:
    def captions(**fields: Any) -> set[str]:
        train = shards(f"{tmp_path}/*.tar", max_bad_share=0.3, num_samples=12) | fields
        return set(tiny_files(tmp_path / "tiny", train=train).load("train", tmp_path / "cache").captions)

    # The same seed gives the same draw, another one another; skipping what another source may take gives other samples.
    assert captions() == captions(max_bad_share=0.4)
    assert captions() != captions(subset_seed=1)
    # (Picture 24 is in the data twice, and each source sees its own draw only.)
    assert captions() & captions(skip=17) <= {"picture 24"}
    # A smaller draw from good data is part of a larger one, so that scaling studies add data and do not swap it.
    assert captions(num_samples=6) < captions()


def test_splits_that_might_meet_are_refused(tmp_path: Path) -> None:
    train = shards("*.tar", num_samples=95)
    with pytest.raises(ConfigError, match="set skip of the later one to at least 100"):
        tiny_files(tmp_path, train=train, finetune=train | {"skip": 99})
    with pytest.raises(ConfigError, match="both need the same subset_seed"):
        tiny_files(tmp_path, train=train, finetune=train | {"skip": 100, "subset_seed": 1})
    # 5% of the first 100 may be bad; from there on, the other one is on its own.
    assert tiny_files(tmp_path, train=train, finetune=train | {"skip": 100})
    assert tiny_files(tmp_path, train=train | {"skip": 20}, finetune=train | {"num_samples": 19})


def _digest(data: Files, cache: Path) -> str:
    return hashlib.sha256(data.load("train", cache).images[:].tobytes()).hexdigest()


def test_processes_share_one_preparation(data: Files, tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(_digest, [data] * 3, [tmp_path / "cache"] * 3))
    assert len(set(found)) == 1
    # Nobody has left half a folder behind.
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1


def test_a_preparation_that_died_is_made_anew(data: Files, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    whole = data.load("train", cache)
    folder = next(path for path in cache.iterdir() if path.is_dir())
    partial = folder.with_name(f"{folder.name}.partial")
    expected = whole.images[:].copy()
    folder.rename(partial)
    (partial / preparation.NOTES).unlink()
    assert np.array_equal(data.load("train", cache).images[:], expected)
    assert not partial.exists()


def test_the_cache_is_bounded(data: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BDRAY_CACHE_GIB", str(20 * 3 * 32 * 32 * 1.5 / 2**30))
    first, second = data.load("train", tmp_path), data.load("test", tmp_path)
    other = tiny_files(tmp_path / "tiny", train=shards(f"{tmp_path}/*.tar", subset_seed=1, max_bad_share=0.3))
    # Pixels are kept while there is room for them, by all sets of the cache together.
    assert isinstance(first.images, np.memmap)
    assert isinstance(second.images, np.memmap)
    assert isinstance(other.load("train", tmp_path).images, StreamedImages)
    monkeypatch.setenv("BDRAY_CACHE_GIB", "much")
    with pytest.raises(ConfigError, match="BDRAY_CACHE_GIB: 'much' is no number"):
        tiny_files(tmp_path / "tiny", image_size=16).load("train", tmp_path)


def test_a_full_disk_streams(data: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert isinstance(data.load("train", tmp_path).images, StreamedImages)


def test_streamed_files_that_are_gone(data: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = streamed(data, tmp_path / "b", monkeypatch)
    (tmp_path / "0.tar").unlink()
    with pytest.raises(DataError, match=r"0\.tar: could be read when .*missing file.*remove .* to prepare anew"):
        lazy.images[:]


def test_other_files_are_another_data_set(data: Files, tmp_path: Path, shard: ShardMaker, pairs: PairsMaker) -> None:
    before = data.fingerprint("train")
    shard(tmp_path / "1.tar", pairs(21, first=20))
    # A result's key tells what it was trained on, also where the configuration is the same.
    assert data.fingerprint("train") != before
