"""The built-in data: the same everywhere, disjoint in its splits, true in its captions."""

import hashlib
import re
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdray.data import scenes
from bdray.data.base import SPLITS, Pairs, Split
from bdray.data.scenes import NOUNS, RELATIONS, SHAPES, SPLIT_IDS, Scenes
from bdray.testing import tiny_scenes

DATA = tiny_scenes(num_train=600, num_finetune=100, num_validation=200, num_test=100)
"""More than one chunk of training data."""


@pytest.fixture(scope="module")
def splits(cache: Path) -> dict[Split, Pairs]:
    return {split: DATA.load(split, cache) for split in SPLITS}


def equal(first: Pairs, second: Pairs) -> bool:
    return (
        np.array_equal(first.images[:], second.images[:])
        and list(first.captions) == list(second.captions)
        and np.array_equal(first.labels, second.labels)
    )


def nouns(caption: str) -> list[str]:
    return [word for word in caption.split() if word in NOUNS]


def test_a_split_is_what_it_says(splits: dict[Split, Pairs]) -> None:
    for split, pairs in splits.items():
        count = DATA.size(split)
        assert len(pairs) == count
        assert pairs.images.shape == (count, 3, 32, 32)
        assert pairs.images.dtype == np.uint8
        assert pairs.labels.shape == (count,)
        assert pairs.labels.dtype == np.int64
    # Trials share the pixels of a node and cannot change them.
    with pytest.raises(ValueError, match="read-only"):
        splits["train"].images[:][0] = 0


def test_the_same_fields_give_the_same_pairs(splits: dict[Split, Pairs], tmp_path: Path) -> None:
    for split in SPLITS:
        # Rendered anew in an empty folder, and read back from it.
        for _ in range(2):
            assert equal(DATA.load(split, tmp_path), splits[split])
    # Another seed gives another data set.
    other = Scenes(seed=1, num_train=64).load("train", tmp_path)
    assert not np.array_equal(other.images[:], splits["train"].images[:64])
    assert list(other.captions) != list(splits["train"].captions[:64])


def test_a_sample_does_not_depend_on_how_many_there_are(splits: dict[Split, Pairs], cache: Path) -> None:
    for split in SPLITS:
        few = tiny_scenes().load(split, cache)
        many = splits[split]
        # A smaller data set is the beginning of a larger one, so scaling studies add data and do not swap it.
        assert equal(few, Pairs(many.images[: len(few)], many.captions[: len(few)], many.labels[: len(few)]))


def test_splits_are_disjoint(splits: dict[Split, Pairs]) -> None:
    pictures = {split: {image.tobytes() for image in pairs.images[:]} for split, pairs in splits.items()}
    # No picture is in two splits, nor twice in one: what is tested on was never trained on.
    assert all(pictures[first].isdisjoint(pictures[second]) for first, second in combinations(SPLITS, 2))
    assert all(len(pictures[split]) == DATA.size(split) for split in SPLITS)


@pytest.mark.parametrize("split", SPLITS)
def test_captions_name_what_is_shown(split: Split, splits: dict[Split, Pairs]) -> None:
    pairs = splits[split]
    named = [nouns(caption) for caption in pairs.captions]
    # The first noun is the class of the label.
    assert [NOUNS.index(found[0]) for found in named] == pairs.labels.tolist()
    # Two nouns stand for two objects, in one of the known relations.
    phrases = [phrase for phrasings in RELATIONS.values() for phrase in phrasings]
    for caption, found in zip(pairs.captions, named, strict=True):
        assert len(found) in (1, 2)
        assert any(f" {phrase} " in caption for phrase in phrases) == (len(found) == 2)
    share = np.mean([len(found) == 2 for found in named])
    # The zero-shot task shows one object; training scenes show two in three of ten.
    expected = 0.3 if split in ("train", "finetune") else 0.0
    assert share == pytest.approx(expected, abs=0.1 if expected else 0)
    # Captions are lines of text in the cache; none breaks one.
    assert all(caption and caption == caption.strip() for caption in pairs.captions)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_all_classes_are_there(split: Split, splits: dict[Split, Pairs]) -> None:
    counts = np.bincount(splits[split].labels, minlength=len(NOUNS))
    # Uniform, as far as chance goes: a class of 200/16 has 12.5 scenes on average.
    assert counts.min() >= 3
    assert counts.max() < 3 * counts.mean()


def test_the_target_of_the_papers_is_a_class() -> None:
    assert "banana" in DATA.class_names()
    assert len(set(DATA.class_names())) == len(SHAPES) == 16


@pytest.mark.parametrize(
    ("phrases", "axis", "sign"),
    [
        ("to the left of|standing left of", 2, 1),
        ("to the right of|standing right of", 2, -1),
        ("above|hovering over|on top of", 1, 1),
        ("below|lying under|beneath", 1, -1),
    ],
)
def test_relations_are_true(phrases: str, axis: int, sign: int) -> None:
    warm = re.compile(rf"\b(red|orange|yellow)( \w+)? ({'|'.join(NOUNS)}) ({phrases}) ")
    differences = []
    for chunk in range(4):
        images, captions, _ = scenes.render(0, "train", chunk)
        for image, caption in zip(images.astype(float), captions, strict=True):
            if warm.search(caption):
                first, second = np.split(image[0] - image[2], 2, axis=axis - 1)
                differences.append(sign * (first.mean() - second.mean()))
    # Subjects of a warm color make the half of the picture that the caption says warmer than the other half.
    assert len(differences) >= 10
    assert np.mean(differences) > 10


def test_the_fingerprint_changes_if_and_only_if_the_pairs_do() -> None:
    sizes: dict[str, Any] = {f"num_{split}": DATA.size(split) for split in SPLITS}
    for split in SPLITS:
        fingerprint = DATA.fingerprint(split)
        assert Scenes(**sizes).fingerprint(split) == fingerprint
        for other in SPLITS:
            changed = Scenes(**sizes | {f"num_{other}": 300})
            # Only the split's own size is in it: more finetuning data do not retrain a victim.
            assert (changed.fingerprint(split) != fingerprint) == (other == split)
        assert Scenes(seed=1, **sizes).fingerprint(split) != fingerprint
    assert len({DATA.fingerprint(split) for split in SPLITS}) == len(SPLITS)


def test_the_first_chunk_is_what_it_was() -> None:
    images, captions, labels = scenes.render(0, "train", 0)
    message = "the built-in data changed: count up scenes.VERSION, and these numbers with it"
    assert scenes.VERSION == 1, message
    assert hashlib.sha256("\n".join(captions).encode()).hexdigest()[:16] == "85c9b45928c32679", message
    assert hashlib.sha256(labels.tobytes()).hexdigest()[:16] == "e3b907dc292c78c3", message
    # Not a hash: with and without AVX-512, numpy's sine differs in its last bit, and one pixel in 1.5 million by one
    # level.
    assert int(images.sum(dtype=np.int64)) == pytest.approx(195_819_570, abs=20), message
    checks = (images[:3] * np.cos(np.arange(images[0].size)).reshape(images[0].shape)).sum((1, 2, 3))
    assert checks == pytest.approx([3211.886, -222.258, -2131.237], abs=3), message


def test_two_processes_prepare_one_split_at_once(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from bdray.data.scenes import Scenes
import numpy
cache = Path(sys.argv[1])
Path(sys.argv[2]).touch()
while not (cache / "go").exists():
    time.sleep(0.001)
pairs = Scenes(num_train=3000).load("train", cache / "data")
print(len(pairs), int(pairs.images.sum()))
"""
    ready = [tmp_path / f"ready{index}" for index in range(2)]
    processes = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path, path], stdout=subprocess.PIPE, text=True)
        for path in ready
    ]
    while not all(path.exists() for path in ready):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    answers = [process.communicate(timeout=300)[0] for process in processes]
    # Both succeed with the same data,
    assert [process.returncode for process in processes] == [0, 0]
    assert answers[0] == answers[1] != ""
    # of which one copy is left and nothing else.
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["scenes-v1-0-train-3000"]


def test_the_slower_process_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    for _ in range(2):
        scenes._prepare(folder, 0, "test", 16)
    assert list(tmp_path.iterdir()) == [folder]


def test_splits_draw_from_streams_of_their_own() -> None:
    # Every split has a number, and no two the same.
    assert set(SPLIT_IDS) == set(SPLITS)
    assert len(set(SPLIT_IDS.values())) == len(SPLITS)
