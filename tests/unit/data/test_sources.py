"""Pairs in the formats that people have: what is read, what is left out, and what is refused."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from bdray import config
from bdray.data import places, preparation
from bdray.data.base import Pairs
from bdray.data.examination import Picture
from bdray.data.inspection import Inspection, inspect
from bdray.data.places import MAX_BYTES
from bdray.data.sources.base import PairSource
from bdray.exceptions import ConfigError, DataError

PICTURE = Picture(32, "crop")
PictureMaker = Callable[..., bytes]
ShardMaker = Callable[[Path, Mapping[str, bytes]], Path]
PairsMaker = Callable[..., dict[str, bytes]]


def source(kind: str, path: object, num_samples: int, **fields: Any) -> PairSource:
    # Bad samples are allowed unless a test is about their share.
    tree = {"type": kind, "path": str(path), "num_samples": num_samples, "max_bad_share": 0.9} | fields
    return config.build(PairSource, tree, "test")  # type: ignore[type-abstract]


def load(given: PairSource, cache: Path) -> tuple[Pairs, dict[str, Any]]:
    folder = cache / f"set-{config.fingerprint([given.science(), given.listing()])}"
    pairs = preparation.load(folder, lambda: given.draw("data.train", cache), PICTURE, "data.train")
    return pairs, preparation.notes(folder)


def look(given: PairSource, cache: Path) -> Inspection:
    """Examine all there is."""
    given.check_readable("data.train")
    records = given.records("data.train", cache)
    return inspect(records, range(len(records)), PICTURE)


def write_images(folder: Path, picture: PictureMaker, count: int, suffix: str = "jpg") -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number}.{suffix}" for number in range(count)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(picture(number, suffix=suffix))
    return names


# Tables


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_tables_of_every_dialect(
    tmp_path: Path, picture: PictureMaker, delimiter: str, encoding: str, newline: str
) -> None:
    names = write_images(tmp_path / "images", picture, 4)
    captions = ["a plain one", f'with "quotes"{delimiter} and more', "café près\nde l'été", "  spaces \t around  "]
    rows = [("id", "image", "caption")]
    rows += [(str(number), f"images/{name}", captions[number]) for number, name in enumerate(names)]
    lines = [delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    (tmp_path / "train.csv").write_bytes((newline.join(lines) + newline * 2).encode(encoding))
    given = source("table", tmp_path / "train.csv", 4, encoding="utf-8" if encoding == "utf-8-sig" else encoding)
    found, _ = load(given, tmp_path / "cache")
    # Every caption arrives, on one line and without needless spaces; and none of it depends on the dialect.
    clean = [
        "a plain one",
        " ".join(f'with "quotes"{delimiter} and more'.split()),
        "café près de l'été",
        "spaces around",
    ]
    assert list(found.captions) == clean
    assert found.labels.tolist() == [-1] * 4


def test_columns_have_names_of_their_own(tmp_path: Path, picture: PictureMaker) -> None:
    # As open_clip's tables: other columns, separated by tabs, and paths from another folder.
    names = write_images(tmp_path / "elsewhere", picture, 3)
    (tmp_path / "train.tsv").write_text("filepath\ttitle\n" + "".join(f"{name}\ta {name}\n" for name in names))
    fields = {"image_column": "filepath", "caption_column": "title", "images": str(tmp_path / "elsewhere")}
    found, _ = load(source("table", tmp_path / "train.tsv", 3, **fields), tmp_path / "cache")
    assert list(found.captions) == ["a 0.jpg", "a 1.jpg", "a 2.jpg"]


def test_bad_rows_are_left_out_and_listed(tmp_path: Path, picture: PictureMaker) -> None:
    root = tmp_path / "data"
    write_images(root / "images", picture, 6)
    (tmp_path / "secret.png").write_bytes(picture(99))
    (root / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "images" / "text.jpg").write_text("<html>404</html>")
    (root / "images" / "half.jpg").write_bytes(picture(50, suffix="jpg")[:300])
    (root / "images" / "small.png").write_bytes(picture(51, size=(3, 100)))
    (root / "images" / "folder.jpg").mkdir()
    os.mkfifo(root / "images" / "pipe.jpg")
    with (root / "images" / "huge.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    rows = {
        "images/0.jpg": "good", "images/none.jpg": "there is no such file", "images/text.jpg": "a page",
        "images/half.jpg": "half", "images/small.png": "small", "images/huge.jpg": "huge",
        "../secret.png": "up", f"{tmp_path}/secret.png": "absolute", "images/link.png": "a link out",
        "images/folder.jpg": "a folder", "images/pipe.jpg": "a pipe", "": "nothing",
        "images/1.jpg": "\u200b -- !", "images/2.jpg": "   ", "images/3.jpg": "x" * 20_000, "images/4.jpg": "NUL\0",
        "images/5.jpg": "the last good one",
    }  # fmt: skip
    table = root / "train.csv"
    body = "".join(f"{name},{caption}\n" for name, caption in rows.items())
    body += "images/0.jpg,good\nimages/0.jpg,the same with another caption\n"
    table.write_bytes(b"image,caption\n" + body.encode() + b"images/1.jpg,caf\xe9 in another encoding\nimages/2.jpg\n")
    found = look(source("table", table, 3), tmp_path)
    # What is good is kept; an image may come with another caption.
    assert found.captions == ["good", "the last good one", "the same with another caption"]
    assert found.tally.counts == {
        "absurd caption": 1, "absurd size": 2, "broken image": 2, "caption is no text": 2, "duplicate": 1,
        "missing file": 1, "no caption": 3, "unsafe path": 6,
    }  # fmt: skip
    # Every one is named by its line.
    assert found.tally.examples["missing file"][0].startswith("line 3 (images/none.jpg)")
    assert sum(map(len, found.tally.examples.values())) == found.tally.total == found.examined - 3


@pytest.mark.parametrize("content", [b"", b"path,text\na,b\n", b"image\n", "image,caption\n".encode("utf-16")])
def test_a_table_without_the_columns_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"data\.train: .*train\.csv.*'image' and 'caption'.*Set image_column"):
        load(source("table", tmp_path / "train.csv", 2), tmp_path / "cache")


def test_a_quotation_mark_that_is_never_closed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text('image,caption\na.jpg,"it begins\n' + "b.jpg,it goes on\n" * 20_000)
    with pytest.raises(DataError, match="never closed"):
        load(source("table", tmp_path / "train.csv", 2), tmp_path / "cache")


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(ConfigError, match="'utf-9' is not allowed: no such encoding"):
        source("table", "x.csv", 2, encoding="utf-9")


# Shards


def test_shards_in_a_folder_or_a_bucket(tmp_path: Path, shard: ShardMaker, pairs: PairsMaker) -> None:
    for number in range(2):
        path = shard(tmp_path / "cc3m" / f"{number:05d}.tar", pairs(6, first=6 * number))
        fsspec.filesystem("memory").pipe(f"/bucket/cc3m/{path.name}", path.read_bytes())
    places = [f"{tmp_path}/cc3m/*.tar", f"{tmp_path}/cc3m/{{00000..00001}}.tar", "memory://bucket/cc3m/*.tar"]
    found = [load(source("webdataset", path, 10), tmp_path / f"cache{number}") for number, path in enumerate(places)]
    # The same pairs, wherever they are and however they are named; so the key of a result is the same.
    assert len({notes["content"] for _, notes in found}) == 1
    assert len({json.dumps(source("webdataset", path, 10).listing()) for path in places}) == 1
    assert all(np.array_equal(found[0][0].images[:], other.images[:]) for other, _ in found)
    assert len(set(found[0][0].captions)) == 10


def test_shards_on_a_real_s3_server(
    tmp_path: Path, shard: ShardMaker, pairs: PairsMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("moto", reason="needs an S3 server: pip install 'moto[s3]' flask flask-cors")
    from tests.object_store import BUCKET, ENVIRONMENT, object_store

    local = [shard(tmp_path / "cc3m" / f"{number:05d}.tar", pairs(6, first=6 * number)) for number in range(2)]
    with object_store() as server:
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}"}.items():
            monkeypatch.setenv(name, value)
        places._pyarrow_bucket.cache_clear()  # other tests may know a bucket of that name on another server
        fs, path = places.filesystem(f"s3://{BUCKET}/cc3m")
        fs.makedirs(path)
        for file in local:
            fs.pipe_file(f"{path}/{file.name}", file.read_bytes())
        server.faults += [503]  # a busy moment
        expected, notes = load(source("webdataset", f"{tmp_path}/cc3m/*.tar", 10), tmp_path / "local")
        for number, name in enumerate(("*.tar", "{00000..00001}.tar")):
            given = source("webdataset", f"s3://{BUCKET}/cc3m/{name}", 10)
            found, _ = load(given, tmp_path / f"bucket{number}")
            # The same pairs as from the disk, under the same key.
            assert np.array_equal(found.images[:], expected.images[:])
            assert list(found.captions) == list(expected.captions)
            assert given.listing() == source("webdataset", f"{tmp_path}/cc3m/*.tar", 10).listing()
        with pytest.raises(DataError, match=r"data\.train\.path: 1 of 3 shards are not there: s3:.*00002\.tar"):
            source("webdataset", f"s3://{BUCKET}/cc3m/{{00000..00002}}.tar", 10).check_readable("data.train")
        places._pyarrow_bucket.cache_clear()
    assert notes["num_samples"] == 10


def test_captions_in_json(tmp_path: Path, shard: ShardMaker, picture: PictureMaker) -> None:
    about = {"a": {"caption": "from json"}, "b": {"caption": None}, "c": {"caption": 7}, "d": {}, "e": ["caption"]}
    members = {f"{key}.png": picture(number) for number, key in enumerate("abcdefgh")}
    members |= {f"{key}.json": json.dumps(value).encode() for key, value in about.items()}
    members |= {"f.json": b"{" * 100_000, "g.json": b'{"caption": "overruled"}', "g.txt": b"from txt"}
    path = shard(tmp_path / "0.tar", members)
    found = look(source("webdataset", path, 2), tmp_path / "cache")
    # Text files come first; whatever else stands for a caption is named.
    assert found.captions == ["from json", "from txt"]
    assert found.tally.counts == {"caption is no text": 1, "no caption": 5}


def test_evil_members_are_never_followed(tmp_path: Path, shard: ShardMaker, picture: PictureMaker) -> None:
    import io
    import tarfile

    (tmp_path / "secret.txt").write_text("secret")
    path = shard(tmp_path / "0.tar", {"a.png": picture(0), "a.txt": b"good", "b.png": picture(1), "b.txt": b"good too"})
    with tarfile.open(path, "a") as tar:
        for name in ("../up", "/absolute", "x/../../up"):
            for suffix, content in {"png": picture(5), "txt": b"evil"}.items():
                member = tarfile.TarInfo(f"{name}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        for kind, key in (
            (tarfile.SYMTYPE, "s"),
            (tarfile.LNKTYPE, "h"),
            (tarfile.FIFOTYPE, "p"),
            (tarfile.CHRTYPE, "c"),
        ):
            member = tarfile.TarInfo(f"{key}.txt")
            member.type, member.linkname = kind, str(tmp_path / "secret.txt")
            tar.addfile(member)
    found = look(source("webdataset", path, 2), tmp_path / "cache")
    # Nothing is unpacked to disk, no link is followed, and all of it is on the list.
    assert found.captions == ["good", "good too"]
    assert found.tally.counts == {"unsafe path": 7}
    assert {entry.name for entry in tmp_path.iterdir()} == {"0.tar", "cache", "secret.txt"}


@pytest.mark.parametrize("cut", [0, 1, 700, 5000])
def test_a_truncated_shard_keeps_what_is_whole(tmp_path: Path, shard: ShardMaker, pairs: PairsMaker, cut: int) -> None:
    shard(tmp_path / "0.tar", pairs(4))
    second = shard(tmp_path / "1.tar", pairs(4, first=4))
    end = 512 * sum(1 + -(-len(content) // 512) for content in pairs(4, first=4).values())
    second.write_bytes(second.read_bytes()[: end - cut])
    found = look(source("webdataset", f"{tmp_path}/*.tar", 6), tmp_path / "cache")
    # All of the shard before, and of this one what comes before the damage, which is named with the shard.
    assert found.captions[:7] == [f"picture {number}" for number in range(7)]
    assert str(second) in found.tally.examples["damaged shard"][0]
    assert found.tally.counts["damaged shard"] == 1


@pytest.mark.parametrize("content", [b"", b"no tar file" * 1000, b"\x1f\x8b" + b"\0" * 2000])
def test_what_is_no_shard_is_damage(tmp_path: Path, shard: ShardMaker, pairs: PairsMaker, content: bytes) -> None:
    shard(tmp_path / "0.tar", pairs(4))
    (tmp_path / "1.tar").write_bytes(content)
    _, notes = load(source("webdataset", f"{tmp_path}/*.tar", 4), tmp_path / "cache")
    assert notes["bad_samples"]["counts"] == {"damaged shard": 1}


def test_missing_shards_are_refused(tmp_path: Path, shard: ShardMaker, pairs: PairsMaker) -> None:
    shard(tmp_path / "00000.tar", pairs(4))
    with pytest.raises(DataError, match=r"2 of 3 shards are not there: .*00001\.tar"):
        load(source("webdataset", f"{tmp_path}/{{00000..00002}}.tar", 4), tmp_path / "cache")
    with pytest.raises(DataError, match=r"data\.train\.path: .*no shard at"):
        load(source("webdataset", f"{tmp_path}/nowhere/*.tar", 4), tmp_path / "cache")


# COCO


def coco(folder: Path, picture: PictureMaker) -> Path:
    write_images(folder / "train2017", picture, 3)
    images = [{"id": 10 + number, "file_name": f"{number}.jpg"} for number in range(3)]
    images.append({"id": 99, "file_name": "../../secret.jpg"})
    notes = [{"id": 100 - number, "image_id": 10 + number % 3, "caption": f"words {number}"} for number in range(6)]
    notes += [{"id": 200, "image_id": 77, "caption": "of no image"}, {"id": 201, "image_id": 99, "caption": "evil"}]
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": notes}))
    return folder / "captions.json"


def test_coco_captions(tmp_path: Path, picture: PictureMaker) -> None:
    fields = {"images": str(tmp_path / "train2017")}
    path = coco(tmp_path, picture)
    found = look(source("coco", path, 3, **fields), tmp_path)
    # The first caption of each image, by id and not by its place in the file.
    assert sorted(found.captions) == ["words 3", "words 4", "words 5"]
    everything = look(source("coco", path, 6, captions="all", **fields), tmp_path)
    assert sorted(everything.captions) == [f"words {number}" for number in range(6)]
    # Images that are not listed, or lead out of the folder.
    assert everything.tally.counts == {"unsafe path": 2}


@pytest.mark.parametrize("content", ["", "[]", '{"images": []}', '{"images": [{}], "annotations": []}', "[" * 100_000])
def test_other_json_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "captions.json").write_text(content)
    with pytest.raises(DataError, match=r"data\.train\.path: .* no file of captions as COCO"):
        load(source("coco", tmp_path / "captions.json", 2, images=str(tmp_path)), tmp_path / "cache")


# Places


@pytest.mark.parametrize("kind", ["table", "webdataset", "coco"])
def test_data_that_are_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    fields = {"images": "images"} if kind == "coco" else {}
    given = source(kind, "CC3M/train", 100, **fields)
    monkeypatch.setenv("BDRAY_DATA", str(tmp_path))
    # Planning goes on without them,
    assert given.listing() is None
    # and the run is refused with field, place and next step.
    with pytest.raises(DataError, match=rf"data\.train\.path: 'CC3M/train': .* {tmp_path}/CC3M/train .*BDRAY_DATA"):
        given.check_readable("data.train")


def test_the_same_study_on_another_machine(
    tmp_path: Path, picture: PictureMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = source("table", "cc/train.csv", 3)
    keys = []
    for machine in ("laptop", "cluster"):
        names = write_images(tmp_path / machine / "cc", picture, 3)
        (tmp_path / machine / "cc" / "train.csv").write_text("image,caption\n" + "".join(f"{x},a {x}\n" for x in names))
        monkeypatch.setenv("BDRAY_DATA", str(tmp_path / machine))
        keys.append(config.fingerprint([given.science(), given.listing()]))
    # Paths are no part of the key, contents are.
    assert keys[0] == keys[1]
    with (tmp_path / "cluster/cc/train.csv").open("a") as file:
        file.write("0.jpg,one more\n")
    assert config.fingerprint([given.science(), given.listing()]) != keys[0]
