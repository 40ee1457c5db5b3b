"""The captions of an exported set: a CSV file that other code reads too."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from bdray.exceptions import DataError
from bdray.export.folder import image_name

FLAGS = {"True": True, "False": False}
"""As pandas writes and reads them."""


@dataclass(frozen=True)
class Row:
    """One sample. The fields are the columns, in this order."""

    image: str
    """File of the image, relative to the folder."""
    caption: str
    """What the victim reads."""
    sample: int
    """Index in the train split."""
    is_poisoned: bool
    original_caption: str
    """The clean caption."""
    label: int
    """Index of the class that the clean image shows; -1 where it is not known."""


COLUMNS = tuple(field.name for field in fields(Row))


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write the file: UTF-8, text in quotes, for the csv module leaves a lone carriage return bare otherwise."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(COLUMNS)
        writer.writerows(map(astuple, rows))


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Each row, with the number of its last line.

    Raises:
        DataError: With file, line and rule, if the file cannot be read or is not what an export writes.
    """
    line = 1
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if tuple(header) != COLUMNS:
                raise damaged(path, 1, f"the columns must be {','.join(COLUMNS)}, not {show(','.join(header))}")
            for cells in reader:
                line = reader.line_num
                yield line, _row(path, line, cells)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise damaged(path, line, f"this or the next row is no CSV in UTF-8 ({error})") from error


def _row(path: Path, line: int, cells: list[str]) -> Row:
    if len(cells) != len(COLUMNS):
        raise damaged(path, line, f"must have {len(COLUMNS)} columns, but has {len(cells)}")
    image, caption, sample, is_poisoned, original_caption, label = cells
    if not (sample.isascii() and sample.isdigit() and len(sample) <= 18):
        raise damaged(path, line, f"sample: {show(sample)} must be a whole number from 0")
    if image != image_name(int(sample)):
        raise damaged(path, line, f"image: {show(image)} must be {image_name(int(sample))}, for sample {int(sample)}")
    if is_poisoned not in FLAGS:
        raise damaged(path, line, f"is_poisoned: {show(is_poisoned)} must be True or False")
    digits = label.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9) or int(label) < -1:
        raise damaged(path, line, f"label: {show(label)} must be a whole number from -1")
    return Row(image, caption, int(sample), FLAGS[is_poisoned], original_caption, int(label))


def damaged(path: Path, line: int, rule: str) -> DataError:
    """The error for a line that breaks a rule."""
    return DataError(f"{path}, line {line}: {rule}. Copy the whole folder again, or export the set anew.")


def show(text: str) -> str:
    """Text of a stranger's, in quotes and not too long."""
    return repr(text) if len(text) <= 80 else repr(text[:77]) + "..."
