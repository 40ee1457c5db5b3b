"""Labeled sets in the folders that people have them in."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdray import config
from bdray.data.base import Pairs
from bdray.data.examination import Picture
from bdray.data.tasks.base import Part, TaskSource
from bdray.data.tasks.imagenet import wnids
from bdray.data.tasks.torchvision_sets import known
from bdray.exceptions import ConfigError, DataError

PICTURE = Picture(32, "crop")
PARTS: tuple[Part, ...] = ("train", "validation", "test")
BANANA, TENCH, CUP = "n07753592", "n01440764", "n07930864"
PictureMaker = Callable[..., bytes]


def task(**fields: Any) -> TaskSource:
    return config.build(TaskSource, fields, "test")  # type: ignore[type-abstract]


@pytest.fixture
def imagenet(tmp_path: Path, picture: PictureMaker) -> Callable[..., TaskSource]:
    """Three classes of unequal sizes."""
    for label, (wnid, count) in enumerate({BANANA: 14, TENCH: 12, CUP: 20}.items()):
        for folder, number in (("train", count), ("val", 4)):
            (tmp_path / folder / wnid).mkdir(parents=True)
            for image in range(number):
                seed = 1000 * label + image + 500 * (folder == "val")
                (tmp_path / folder / wnid / f"{wnid}_{image}.JPEG").write_bytes(picture(seed, suffix="jpg"))
    fields = {"path": str(tmp_path), "classes": [TENCH, CUP, BANANA]}
    numbers = {"train_per_class": 6, "validation_per_class": 3, "test_per_class": 4}
    return lambda **others: task(type="imagenet", **(fields | numbers | others))


def test_names_are_those_of_the_papers() -> None:
    everything = task(type="imagenet")
    # The target of all three papers, at its index; two names that two classes share; 80 templates.
    assert everything.class_names().index("banana") == wnids().index(BANANA) == 954
    assert len(everything.class_names()) == len(set(wnids())) == 1000
    assert everything.class_names().count("missile") == everything.class_names().count("sunglasses") == 2
    assert len(everything.prompt_templates()) == 80
    assert list(wnids()) == sorted(wnids())
    # Known without any data.
    assert [everything.size(part) for part in PARTS] == [50_000, 5_000, 50_000]


def test_imagenet_is_split_by_class(imagenet: Callable[..., TaskSource], tmp_path: Path) -> None:
    given = imagenet()
    assert given.class_names() == ["tench", "tea cup", "banana"]
    found = {part: given.load(part, PICTURE, tmp_path / "cache") for part in PARTS}
    for part, pairs in found.items():
        # Equally many of each class, and with the captions of their names.
        assert len(pairs) == given.size(part)
        assert np.bincount(pairs.labels).tolist() == [given.size(part) // 3] * 3
        names = [given.class_names()[label] for label in pairs.labels]
        assert all(name in caption for name, caption in zip(names, pairs.captions, strict=True))
        # The first images are a fair share of the classes: every epoch is judged by those.
        assert sorted(pairs.labels[:3].tolist()) == sorted(pairs.labels[3:6].tolist()) == [0, 1, 2]
    # Nothing is in two parts.
    pictures = {part: {image.tobytes() for image in pairs.images[:]} for part, pairs in found.items()}
    assert len(set.union(*pictures.values())) == sum(map(given.size, PARTS))
    # More training images leave validation as it was.
    more = imagenet(train_per_class=5).load("validation", PICTURE, tmp_path / "cache")
    assert np.array_equal(more.images[:], found["validation"].images[:])


def test_bad_images_are_replaced_where_there_are_others(
    imagenet: Callable[..., TaskSource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = imagenet().load("validation", PICTURE, tmp_path / "a")
    first = before.images[0].tobytes()
    for path in (tmp_path / "train").rglob("*.JPEG"):
        if Picture(32, "crop").pixels(path.read_bytes()).tobytes() == first:
            path.write_bytes(b"broken")
    # One of nine is more than the 5% that may be bad;
    with pytest.raises(DataError, match=r"task: 1 of the first 1 samples are bad.*\n1 x broken image"):
        imagenet().load("validation", PICTURE, tmp_path / "b")
    # if more may be, another one of the same class takes its place, and none that is trained on.
    monkeypatch.setattr("bdray.data.tasks.imagenet.MAX_BAD_SHARE", 0.2)
    after, train = (imagenet().load(part, PICTURE, tmp_path / "c") for part in ("validation", "train"))
    assert np.bincount(after.labels).tolist() == [3, 3, 3]
    assert {image.tobytes() for image in before.images[1:]} < {image.tobytes() for image in after.images[:]}
    assert {image.tobytes() for image in after.images[:]}.isdisjoint(image.tobytes() for image in train.images[:])
    # of the test images, whose number the papers' numbers are shares of, none may be missing.
    next((tmp_path / "val" / TENCH).iterdir()).write_bytes(b"broken")
    with pytest.raises(DataError, match="1 x broken image"):
        imagenet().load("test", PICTURE, tmp_path / "b")


def test_imagenet_that_is_not_what_it_should_be(imagenet: Callable[..., TaskSource], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.task\.path: .*val has no folder 'n01443537', and 1 of 2 are missing"):
        imagenet(classes=[TENCH, "n01443537"], train_folder="val").check_readable("data.task")
    with pytest.raises(DataError, match=r"data\.task\.path: there is nothing at .*/nowhere/train\."):
        imagenet(path=str(tmp_path / "nowhere")).check_readable("data.task")
    with pytest.raises(DataError, match=r"5 samples of n0\d+ are asked for, but there are 4 candidates"):
        imagenet(test_per_class=5).load("test", PICTURE, tmp_path / "cache")
    with pytest.raises(ConfigError, match=r"'n01440765' is no wnid of ImageNet-1K\. Did you mean 'n01440764'"):
        imagenet(classes=[TENCH, "n01440765"])
    with pytest.raises(ConfigError, match="exactly once"):
        imagenet(templates=["a photo"])


def test_keys_tell_what_is_there(imagenet: Callable[..., TaskSource], tmp_path: Path, picture: PictureMaker) -> None:
    before = {part: imagenet().fingerprint(part, PICTURE) for part in PARTS}
    # Names and templates are part of what a result means, a place is none.
    assert imagenet(templates=["{}"]).fingerprint("test", PICTURE) != before["test"]
    assert imagenet(classes=[BANANA, TENCH, CUP]).fingerprint("test", PICTURE) != before["test"]
    (tmp_path / "elsewhere").symlink_to(tmp_path / "train")
    assert imagenet(train_folder="elsewhere").fingerprint("train", PICTURE) == before["train"]


# torchvision's sets. Their true layouts, with a few images instead of thousands.


def write(folder: Path, names: list[str], picture: PictureMaker, first: int = 0) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(first + number, suffix=name.rpartition(".")[2]))


def make_dtd(root: Path, picture: PictureMaker) -> dict[Part, int]:
    texts = dict.fromkeys(("train", "val", "test"), "")
    for number, (split, name) in enumerate((split, name) for split in texts for name in known()["dtd"]["classes"]):
        write(root / "dtd/dtd/images", [f"{name}/{name}_{split}.jpg"], picture, number)
        texts[split] += f"{name}/{name}_{split}.jpg\n"
    (root / "dtd/dtd/labels").mkdir()
    for split, text in texts.items():
        (root / f"dtd/dtd/labels/{split}1.txt").write_text(text)
    return {"train": 84, "validation": 10, "test": 47}


def make_food(root: Path, picture: PictureMaker) -> dict[Part, int]:
    names = [name.replace(" ", "_") for name in known()["food101"]["classes"]]
    (root / "food-101/meta").mkdir(parents=True)
    for split in ("train", "test"):
        write(root / "food-101/images", [f"{name}/{split}.jpg" for name in names], picture, 200 * (split == "test"))
        (root / f"food-101/meta/{split}.json").write_text(json.dumps({name: [f"{name}/{split}"] for name in names}))
    return {"train": 91, "validation": 10, "test": 101}


def make_sst(root: Path, picture: PictureMaker) -> dict[Part, int]:
    for split, first in (("train", 0), ("valid", 100), ("test", 200)):
        names = [f"{split}/{name}/{number}.png" for name in ("negative", "positive") for number in range(6)]
        write(root / "rendered-sst2", names, picture, first)
    return {"train": 10, "validation": 2, "test": 12}


def make_pets(root: Path, picture: PictureMaker) -> dict[Part, int]:
    base = root / "oxford-iiit-pet"
    (base / "annotations").mkdir(parents=True)
    names = [name.replace(" ", "_") for name in known()["oxford_iiit_pet"]["classes"]]
    for split, first in (("trainval", 1), ("test", 2)):
        write(base / "images", [f"{name}_{first}.jpg" for name in names], picture, 100 * first)
        lines = [f"{name}_{first} {label} 1 1\n" for label, name in enumerate(names, start=1)]
        (base / f"annotations/{split}.txt").write_text("".join(lines))
    return {"train": 33, "validation": 4, "test": 37}


LAYOUTS = {"dtd": make_dtd, "food101": make_food, "rendered_sst2": make_sst, "oxford_iiit_pet": make_pets}


@pytest.mark.parametrize("name", LAYOUTS)
def test_torchvision_sets(name: str, tmp_path: Path, picture: PictureMaker) -> None:
    sizes = LAYOUTS[name](tmp_path, picture)
    given = task(type="torchvision", name=name, path=str(tmp_path), **{f"num_{part}": n for part, n in sizes.items()})
    found: dict[Part, Pairs] = {part: given.load(part, PICTURE, tmp_path / "cache") for part in PARTS}
    pictures = {part: {image.tobytes() for image in pairs.images[:]} for part, pairs in found.items()}
    # All images of the test set; validation is a part of the train set that train does not have.
    assert {part: len(pairs) for part, pairs in found.items()} == sizes
    assert len(set.union(*pictures.values())) == sum(sizes.values())
    # Labels are those of torchvision, by our names for them.
    labels = found["test"].labels
    assert set(labels.tolist()) == set(range(len(given.class_names())))
    assert all(given.class_names()[label] in text for label, text in zip(labels, found["test"].captions, strict=True))
    # A set that lacks images is no base for numbers.
    with pytest.raises(DataError, match=rf"task: {name} has {sizes['test']} images .* but \d+ are expected"):
        task(type="torchvision", name=name, path=str(tmp_path)).load("test", PICTURE, tmp_path / "cache")


def test_cifar_is_read_only_if_its_hash_is_the_published_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import calculate_md5

    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        content = {"data": rng.integers(256, size=(4, 3072), dtype=np.uint8), "labels": [0, 3, 9, 1]}
        (base / name).write_bytes(pickle.dumps(content))
    names = known()["cifar10"]["classes"]
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    given = task(type="torchvision", name="cifar10", path=str(tmp_path), num_train=15, num_validation=5, num_test=4)
    # These pickles are not the published ones, so they are not even opened.
    with pytest.raises(DataError, match=r"torchvision cannot read cifar10 in .*corrupted"):
        given.load("test", PICTURE, tmp_path / "cache")
    for kind in ("train_list", "test_list"):
        files = [[name, calculate_md5(base / name)] for name, _ in getattr(CIFAR10, kind)]
        monkeypatch.setattr(CIFAR10, kind, files)
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": calculate_md5(base / "batches.meta")})
    found = [given.load(part, PICTURE, tmp_path / "cache") for part in PARTS]
    assert [len(pairs) for pairs in found] == [15, 5, 4]
    assert sorted(found[2].labels.tolist()) == [0, 1, 3, 9]
    assert given.class_names()[0] in found[2].captions[found[2].labels.tolist().index(0)]
    # Pixels of 32x32 images pass unchanged.
    stored = pickle.loads((base / "test_batch").read_bytes())["data"].reshape(4, 3, 32, 32)
    assert {image.tobytes() for image in stored} == {image.tobytes() for image in found[2].images[:]}


def test_torchvision_sets_that_are_not_here(tmp_path: Path) -> None:
    given = task(type="torchvision", name="dtd", path=str(tmp_path))
    assert given.listing("test") is None
    # Known without any data, for plans.
    assert [given.size(part) for part in PARTS] == [3384, 376, 1880]
    with pytest.raises(DataError, match=r"data\.task\.path: dtd is not there as a whole: no .*dtd/dtd/images\."):
        given.check_readable("data.task")
    with pytest.raises(DataError, match="reads local files only"):
        task(type="torchvision", name="dtd", path="s3://bucket").check_readable("data.task")


@pytest.mark.parametrize("name", known())
def test_a_set_is_there_only_as_a_whole(name: str, tmp_path: Path) -> None:
    given, files = task(type="torchvision", name=name, path=str(tmp_path)), known()[name]["files"]
    # A root that is there, but empty, has no set, not even one whose files lie in the root itself.
    assert given.listing("test") is None
    with pytest.raises(DataError, match=re.escape(f"{name} is not there as a whole: no {tmp_path / files[0]}.")):
        given.check_readable("task")
    for file in files:
        (tmp_path / file).mkdir(parents=True)
    given.check_readable("task")
    # The word is part of the keys of stored results.
    assert given.listing("test") == "there"
    for file in files:
        (tmp_path / file).rmdir()
        with pytest.raises(DataError, match=re.escape(f"{name} is not there as a whole: no {tmp_path / file}.")):
            given.check_readable("task")
        (tmp_path / file).mkdir()


def test_files_of_sets_are_those_that_torchvision_asks_for() -> None:
    from torchvision.datasets import CIFAR10, CIFAR100, STL10, SVHN, Flowers102

    for name, cls in (("cifar10", CIFAR10), ("cifar100", CIFAR100), ("stl10", STL10)):
        asked = {file for file, _ in cls.train_list + cls.test_list} | {getattr(cls, "meta", {}).get("filename")}
        assert set(known()[name]["files"]) == {f"{cls.base_folder}/{file}" for file in asked - {None}}
    assert set(known()["svhn"]["files"]) == {SVHN.split_list[split][1] for split in ("train", "test")}
    flowers = {f"flowers-102/{Flowers102._file_dict[kind][0]}" for kind in ("label", "setid")}
    assert set(known()["flowers102"]["files"]) == flowers | {"flowers-102/jpg"}


def test_what_is_known_of_sets_is_whole() -> None:
    import torchvision.datasets

    # CleanerCLIP's Table 2, without ImageNet.
    paper = {"cifar10", "cifar100", "dtd", "stl10", "svhn", "food101", "oxford_iiit_pet", "rendered_sst2"}
    assert paper < set(known())
    for name, about in known().items():
        assert hasattr(torchvision.datasets, about["class"])
        assert len(set(about["classes"])) == len(about["classes"]) >= 2
        assert all(template.count("{}") == 1 for template in about["templates"])
        assert task(type="torchvision", name=name).size("test") == about["num_test"]
