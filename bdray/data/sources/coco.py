"""Captions as MS-COCO has them: one JSON file of images and annotations, and a folder of images."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bdray.data import places
from bdray.data.places import Place
from bdray.data.records import Records
from bdray.data.sources.base import PairSource
from bdray.exceptions import DataError
from bdray.registry import component


@component
class Coco(PairSource):
    """A JSON file such as ``captions_train2017.json``, with the images that it names."""

    type: Literal["coco"] = "coco"
    path: str = Field(min_length=1)
    """The JSON file, relative to ``BDRAY_DATA``; or a URL."""
    images: str = Field(min_length=1)
    """Folder of the images, such as ``coco/train2017``."""
    captions: Literal["first", "all"] = "first"
    """Of an image with several captions. ``first``: it is one pair, with the caption of the lowest id. ``all``: it is a
    pair with each of them."""

    PATHS = ("path", "images")

    @property
    def _url(self) -> str:
        return places.absolute(self.path)

    def listing(self) -> Any:
        return places.content_hash(self._url) if places.size(self._url) >= 0 else None

    def check_readable(self, field: str) -> None:
        if places.size(self._url) < 0:
            raise places.missing(f"{field}.path", self.path, "there is no file at")

    def records(self, field: str, cache: Path) -> Records:
        try:
            with places.open_file(self._url) as file:
                tree = json.load(file)
            names = {image["id"]: str(image["file_name"]) for image in tree["images"]}
            notes = sorted((note["image_id"], note["id"], note["caption"]) for note in tree["annotations"])
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            raise DataError(
                f"{field}.path: {self._url}: is no file of captions as COCO has them ({type(error).__name__}: {error})."
                ' It must hold {"images": [{"id", "file_name"}], "annotations": [{"id", "image_id", "caption"}]}.'
            ) from error
        seen, pairs = set(), []
        for image, _, caption in notes:
            if self.captions == "all" or image not in seen:
                pairs.append((names.get(image, ""), caption))
                seen.add(image)
        return CocoRecords(places.absolute(self.images), pairs)


@dataclass(frozen=True)
class CocoRecords(Records):
    """Images below a folder and their captions, in the order of ids."""

    root: str
    pairs: list[tuple[str, object]]
    """Name of the image file, empty if the file does not say, and caption."""

    def __len__(self) -> int:
        return len(self.pairs)

    def where(self, position: int) -> str:
        return self.pairs[position][0] or f"annotation {position} of an image that is not listed"

    def caption(self, position: int) -> object:
        return self.pairs[position][1]

    def place(self, position: int) -> Place:
        return Place(places.inside(self.root, self.pairs[position][0]))
