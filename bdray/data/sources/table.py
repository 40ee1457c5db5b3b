"""A table of image files and captions: what CC3M, SBU and CleanCLIP users have."""

import csv
import io
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from bdray.data import places
from bdray.data.places import Place
from bdray.data.records import Records
from bdray.data.sources.base import PairSource
from bdray.exceptions import DataError
from bdray.registry import component

DELIMITERS = (",", "\t", ";", "|")


@component
class Table(PairSource):
    """A CSV or TSV file with a header, a column of image paths and one of captions."""

    type: Literal["table"] = "table"
    path: str = Field(min_length=1)
    """The file, relative to ``BDRAY_DATA``; or a URL."""
    images: str | None = Field(default=None, min_length=1)
    """Folder that the image paths start from, relative to ``BDRAY_DATA``; None: the folder of the table."""
    image_column: str = "image"
    """Column of image paths. CleanCLIP's and BadCLIP's tables say ``image``, open_clip's ``filepath``."""
    caption_column: str = "caption"
    """Column of captions. CleanCLIP's and BadCLIP's tables say ``caption``, open_clip's ``title``."""
    delimiter: Literal["auto", ",", "\t", ";", "|"] = "auto"
    """What stands between columns. ``auto``: the first of these by which the header has both columns."""
    encoding: str = "utf-8"
    """Of the file. Captions that do not fit it are bad samples."""

    PATHS = ("path", "images")

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError as error:
            raise ValueError(
                "no such encoding; take utf-8, utf-16, latin-1, cp1252 or another one of Python's"
            ) from error
        return value

    @property
    def _url(self) -> str:
        return places.absolute(self.path)

    @property
    def _root(self) -> str:
        return places.absolute(self.images) if self.images else self._url.rpartition("/")[0]

    def listing(self) -> Any:
        return places.content_hash(self._url) if places.size(self._url) >= 0 else None

    def check_readable(self, field: str) -> None:
        if places.size(self._url) < 0:
            raise places.missing(f"{field}.path", self.path, "there is no file at")

    def records(self, field: str, cache: Path) -> Records:
        lines, images, captions = array("q"), [], []
        for line, image, caption in self._rows(field):
            lines.append(line)
            images.append(image)
            captions.append(caption)
        return TableRecords(self._root, lines, images, captions)

    def _rows(self, field: str) -> Iterator[tuple[int, str, str | None]]:
        """Line in the file, image and caption of every row; None where the row is too short for a caption."""
        with places.open_file(self._url) as raw:
            encoding = "utf-8-sig" if self.encoding.lower() in ("utf-8", "utf8") else self.encoding
            # Bytes that do not fit become halves of surrogate pairs, which no caption may hold.
            text = io.TextIOWrapper(raw, encoding=encoding, errors=_errors(encoding), newline="")
            rows = csv.reader(text)
            try:
                header = text.readline()
                delimiter = self._delimiter(header, field)
                names = next(csv.reader([header], delimiter=delimiter))
                image, caption = names.index(self.image_column), names.index(self.caption_column)
                rows = csv.reader(text, delimiter=delimiter)
                for row in rows:
                    if row:
                        path, words = (row[column] if column < len(row) else None for column in (image, caption))
                        yield rows.line_num + 1, path or "", words
            except (csv.Error, UnicodeError) as error:
                raise DataError(
                    f"{field}.path: {self._url}: cannot be read after line {rows.line_num + 1} ({error}). "
                    f"Is there a quotation mark that is never closed, or is the encoding not {self.encoding}?"
                ) from error

    def _delimiter(self, header: str, field: str) -> str:
        wanted = (self.image_column, self.caption_column)
        for delimiter in DELIMITERS if self.delimiter == "auto" else (self.delimiter,):
            names = next(csv.reader([header], delimiter=delimiter), [])
            if all(name in names for name in wanted):
                return delimiter
        shown = header.strip()[:200]
        raise DataError(
            f"{field}: {self._url}: its first line, {shown!r}, names no columns {wanted[0]!r} and {wanted[1]!r}. "
            "Set image_column and caption_column, delimiter or encoding."
        )


@dataclass(frozen=True)
class TableRecords(Records):
    """Paths of images below a folder, and their captions."""

    root: str
    lines: "array[int]"
    """Where each row ends in the file, counted from 1."""
    images: list[str]
    captions: list[str | None]

    def __len__(self) -> int:
        return len(self.images)

    def where(self, position: int) -> str:
        return f"line {self.lines[position]} ({self.images[position][:120]})"

    def caption(self, position: int) -> object:
        return self.captions[position]

    def place(self, position: int) -> Place:
        return Place(places.inside(self.root, self.images[position].strip()))


def _errors(encoding: str) -> str:
    """How to read bytes that do not fit; only encodings that ASCII is a part of can keep them."""
    return "surrogateescape" if not encoding.lower().startswith(("utf-16", "utf-32")) else "replace"
