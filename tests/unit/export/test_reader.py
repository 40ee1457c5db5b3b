"""Nothing that differs from the index is read, and nothing outside of the folder, whatever the files say."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdray.exceptions import DataError
from bdray.export import read, verify
from bdray.export.images import to_png

Damage = Callable[[Path], object]


def replace(name: str, old: str, new: str, count: int = 1) -> Damage:
    """Changes a word of a text file."""

    def damage(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new, count), encoding="utf-8")

    return damage


def change_index(change: Callable[[dict[str, Any]], object]) -> Damage:
    """Changes the tree of the index."""

    def damage(folder: Path) -> None:
        tree = json.loads((folder / "index.json").read_text())
        change(tree)
        (folder / "index.json").write_text(json.dumps(tree))

    return damage


def change_rows(change: Callable[[list[str]], list[str]]) -> Damage:
    """Changes the lines of the captions, the header among them."""

    def damage(folder: Path) -> None:
        lines = (folder / "captions.csv").read_text().splitlines()
        (folder / "captions.csv").write_text("\n".join(change(lines)) + "\n")

    return damage


def first_image(folder: Path) -> Path:
    return min(folder.glob("images/*"))


def flip_a_pixel(folder: Path) -> None:
    pixels = np.zeros((3, 32, 32), np.uint8)
    first_image(folder).write_bytes(to_png(pixels))


def link_outside(folder: Path) -> None:
    """The image itself is the right one, only elsewhere."""
    first_image(folder).rename(folder.parent / "elsewhere.png")
    first = folder / "images" / "00000000.png"
    first.symlink_to(folder.parent / "elsewhere.png")


def link_the_folder_outside(folder: Path) -> None:
    (folder / "images").rename(folder.parent / "elsewhere")
    (folder / "images").symlink_to(folder.parent / "elsewhere")


def make_a_pipe(folder: Path) -> None:
    """Whoever opened it would wait forever."""
    (folder / "captions.csv").unlink()
    os.mkfifo(folder / "captions.csv")


def first_poisoned(tree: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = tree["poisoned"][0]
    return found


# What was done to the folder, and what the message says.
DAMAGES: dict[str, tuple[Damage, str]] = {
    # Files that were changed.
    "a pixel": (flip_a_pixel, r"images/00000000\.png: the pixels of sample 0 are not those of the index"),
    "half an image": (
        lambda folder: first_image(folder).write_bytes(first_image(folder).read_bytes()[:900]),
        r"images/00000000\.png: cannot be read: it is damaged",
    ),
    "no image": (lambda folder: first_image(folder).unlink(), r"images/00000000\.png: is missing"),
    "one image more": (
        lambda folder: (folder / "images" / "00000099.png").write_bytes(b""),
        r"images/00000099\.png: is not in the index",
    ),
    "another poisoned caption": (
        replace("captions.csv", "a photo of a banana", "a photo of a boat"),
        r"captions\.csv, line \d+: caption: 'a photo of a boat' must be 'a photo of a banana', says the index",
    ),
    "another clean caption": (
        change_rows(
            lambda lines: [
                *lines[:1],
                re.sub('"[^"]*"', '"a boat"', lines[1]).replace('"a boat"', '"images/00000000.png"', 1),
                *lines[2:],
            ]
        ),
        r"captions\.csv: was changed",
    ),
    "a poison declared clean": (
        replace("captions.csv", "True", "False"),
        r"captions\.csv, line \d+: is_poisoned: must be True",
    ),
    "a clean one declared poisoned": (
        replace("captions.csv", "False", "True"),
        r"captions\.csv, line 2: is_poisoned: must be False",
    ),
    "another label": (
        change_rows(lambda lines: [*lines[:-1], re.sub(r"\d+$", "15", lines[-1].replace(",15", ",14"))]),
        r"captions\.csv: was changed",
    ),
    "a row less": (change_rows(lambda lines: lines[:-1]), r"captions\.csv, line 48: images/\d+\.png must follow"),
    "a row in the middle less": (
        change_rows(lambda lines: lines[:5] + lines[6:]),
        r"captions\.csv, line 6: image: images/\d+\.png must be images/\d+\.png, says the index",
    ),
    "a row twice": (change_rows(lambda lines: [*lines, lines[-1]]), r"captions\.csv, line 50: image: .* left out"),
    "no captions": (lambda folder: (folder / "captions.csv").unlink(), r"captions\.csv: is missing"),
    # Ways out of the folder.
    "a path outside": (
        replace("captions.csv", "images/00000000.png", "../../../etc/passwd"),
        r"captions\.csv, line 2: image: '\.\./\.\./\.\./etc/passwd' must be images/00000000\.png",
    ),
    "a path outside, in the index too": (
        lambda folder: [
            replace(name, "images/00000000.png", "../x/00000000.png")(folder) for name in ("captions.csv", "index.json")
        ],
        r"index\.json: images: '\.\./x/00000000\.png' is not like images/00000012\.png",
    ),
    "a link": (link_outside, r"images/00000000\.png: must be a plain file"),
    "a link for the images": (link_the_folder_outside, r"images/00000000\.png: must be a plain file"),
    "a pipe": (make_a_pipe, r"captions\.csv: must be a plain file"),
    # Indices that are none.
    "no index": (lambda folder: (folder / "index.json").unlink(), r"index\.json: is missing"),
    "no JSON": (lambda folder: (folder / "index.json").write_text("index: 1"), r"index\.json: Invalid JSON"),
    "half an index": (
        lambda folder: (folder / "index.json").write_bytes((folder / "index.json").read_bytes()[:700]),
        r"index\.json: Invalid JSON: EOF",
    ),
    "no text": (lambda folder: (folder / "index.json").write_bytes(b"\xff\xfe{}"), r"index\.json: Invalid JSON"),
    "a list": (lambda folder: (folder / "index.json").write_text("[]"), r"index\.json: .*object"),
    "endless nesting": (
        lambda folder: (folder / "index.json").write_text('{"experiment": ' + '{"a":' * 100_000),
        r"index\.json: Invalid JSON: recursion limit",
    ),
    "another format": (replace("index.json", "bdray poisoned set", "poisoned"), r"index\.json: format: "),
    "a later version": (change_index(lambda tree: tree.update(format_version=2)), r"index\.json: format_version: .* 1"),
    "an unknown field": (change_index(lambda tree: tree.update(extra=1)), r"index\.json: extra: "),
    "a word for a number": (change_index(lambda tree: tree.update(seed="0")), r"index\.json: seed: .*integer"),
    "a number for a caption": (
        change_index(lambda tree: first_poisoned(tree).update(caption=1)),
        r"index\.json: poisoned\.0\.caption: .*string",
    ),
    "a negative sample": (
        change_index(lambda tree: first_poisoned(tree).update(sample=-1)),
        r"index\.json: poisoned\.0\.sample: .*greater than or equal to 0",
    ),
    "a list for the images": (change_index(lambda tree: tree.update(images=[])), r"index\.json: images: "),
    "a hash that is none": (replace("index.json", '00.png": "', '00.png": "../'), r"index\.json: images\..*pattern"),
    "huge images": (change_index(lambda tree: tree.update(image_size=10**6)), r"index\.json: image_size: .*1024"),
    "larger images": (change_index(lambda tree: tree.update(image_size=64)), "must have 64x64 pixels"),
    "a poison without an image": (
        change_index(lambda tree: tree["poisoned"][-1].update(sample=10**6)),
        r"index\.json: poisoned: sample 1000000 has no image",
    ),
    "a poison twice": (
        change_index(lambda tree: tree["poisoned"].append(tree["poisoned"][-1])),
        r"index\.json: poisoned: must be in the order",
    ),
    "a poison out of reach": (
        change_index(lambda tree: tree["poisoned"][-1].update(position=48)),
        r"index\.json: poisoned: position 48 is not among 48",
    ),
    "an image less": (
        change_index(lambda tree: tree["images"].pop("images/00000000.png")),
        r"index\.json: images: must be 48, but 47 are listed",
    ),
    "images in another order": (
        change_index(lambda tree: tree.update(images=dict(reversed(tree["images"].items())))),
        r"index\.json: images: must be in the order",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_whatever_is_not_as_the_index_says_is_refused(exported: Path, name: str) -> None:
    damage, message = DAMAGES[name]
    damage(exported)
    for check in (read, verify):
        with pytest.raises(DataError, match=message) as caught:
            check(exported)
        # One line that names the file and is fit for a terminal.
        assert str(exported) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        assert len(str(caught.value)) < 3 * len(str(exported)) + 500


def test_more_images_than_memory_are_refused(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"images/{sample:08d}.png": "0" * 64 for sample in range(3_000)}

    def change(tree: dict[str, Any]) -> None:
        tree.update(images=names, num_samples=3_000, poisoned=[], image_size=1024)

    change_index(change)(exported)
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, hard))
    try:
        # 9 GB where there is 1: told before the first file is opened.
        with pytest.raises(DataError, match="3000 images of 1024 px do not fit into memory, 9 GB"):
            read(exported)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_an_index_of_any_size_is_not_swallowed(exported: Path) -> None:
    with (exported / "index.json").open("ab") as file:
        file.truncate(2**30 + 1)  # a hole, which takes no room on the disk
    with pytest.raises(DataError, match=r"index\.json: has 1073741825 bytes"):
        read(exported)


def test_a_linked_folder_can_be_read(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(exported)
    # The user's own link to a whole export, on a larger disk, say.
    assert len(read(tmp_path / "link").pairs) == 48
