"""What a person names who wants data to be looked at: files, a folder, or the data of a base or a study."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bdray import config
from bdray.data import places
from bdray.data.examination import Picture
from bdray.data.files import Files
from bdray.data.records import Draw, Lane, Records, shuffled
from bdray.data.sources.base import PairSource
from bdray.data.tasks.base import Part
from bdray.data.tasks.folders import FolderRecords, image_names
from bdray.exceptions import ConfigError, DataError


@dataclass(frozen=True)
class Named:
    """Something to look at."""

    name: str
    draw: Draw
    picture: Picture
    is_whole: bool
    """Whether all there is shall be looked at, and not the samples of a study."""


def from_data(data: Files, cache: Path) -> list[Named]:
    """All that a data set reads."""
    data.check_readable()
    picture = Picture(data.image_size, data.geometry)
    sources = {"train": data.train, "finetune": data.finetune}
    found = [
        Named(f"data.{split}", source.draw(f"data.{split}", cache), picture, False)
        for split, source in sources.items()
        if source is not None
    ]
    parts: tuple[Part, ...] = ("validation", "test") if data.finetune else ("train", "validation", "test")
    return found + [Named(f"data.task, {part}", data.task.draw(part, "data.task"), picture, False) for part in parts]


def from_place(path: str, fields: Mapping[str, Any], cache: Path) -> list[Named]:
    """What is at a path or URL, whose format its name tells.

    Args:
        path: Of a table, of shards, of a file of COCO captions, or of a folder of shards or of class folders.
        fields: Of the source, such as ``image_column``.
        cache: Folder for an index of shards.

    Raises:
        ConfigError: If a field does not fit the format.
        DataError: If the place holds nothing that could be looked at.
    """
    if path.endswith((".csv", ".tsv", ".txt")):
        kind = "table"
    elif path.endswith(".json"):
        kind = "coco"
    elif ".tar" in path:
        kind = "webdataset"
    else:
        there = places.names(places.absolute(path))
        if not any(name.endswith(".tar") for name in there):
            return [_class_folders(path, there)]
        kind, path = "webdataset", f"{path.rstrip('/')}/*.tar"
    tree = {"type": kind, "path": path, "num_samples": 2, **fields}
    source = cast(PairSource, config.build(PairSource.members()[kind], tree, config.COMMAND_LINE))
    draw = source.draw("SOURCE", cache)
    everything = [Lane(shuffled(len(draw.records), source.subset_seed), source.num_samples)]
    is_whole = "num_samples" not in fields
    return [
        Named(path, Draw(draw.records, everything, source.max_bad_share, unique=True), Picture(224, "crop"), is_whole)
    ]


def _class_folders(path: str, there: list[str]) -> Named:
    root = places.absolute(path)
    images = {name: image_names(f"{root}/{name}") for name in there}
    classes = [name for name, inside in images.items() if inside]
    if not classes:
        raise DataError(
            f"SOURCE: {root} is no table (.csv, .tsv), no shard (.tar), no COCO captions (.json), and no folder of "
            "shards or of folders of images; and no base or study has that name. Give one of these."
        )
    names = [f"{name}/{image}" for name in classes for image in images[name]]
    labels = [label for label, name in enumerate(classes) for _ in images[name]]
    records: Records = FolderRecords(root, names, labels, classes)
    return Named(
        path, Draw(records, [Lane(shuffled(len(names), 0), len(names))], 0.05, unique=True), Picture(224, "crop"), True
    )


def data_of(experiment: Mapping[str, Any], source: str) -> Files:
    """The data set of a base experiment.

    Raises:
        ConfigError: If it reads no files.
    """
    tree = experiment.get("data")
    kind = tree.get("type") if isinstance(tree, Mapping) else None
    if kind != "files":
        raise ConfigError(f"{source}: data.type is {kind!r}, which reads no files that could be checked.")
    assert isinstance(tree, Mapping)
    return config.build(Files, tree, f"{source}: data")
