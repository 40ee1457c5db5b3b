"""The CSV file: any caption comes back as it was, and no row that an export would not write is taken."""

import re
from pathlib import Path

import pandas as pd
import pytest

from bdray.exceptions import DataError
from bdray.export.captions import COLUMNS, Row, read_rows, write_rows
from bdray.export.folder import image_name

HEADER = ",".join(COLUMNS)
CAPTIONS = ["plain", "a, b", 'the "best" one', "two\nlines", "ends\r", " spaces ", "naïve 🍌", "", "'", "=1+1", "x\0y"]

# One row, and the rule that it breaks.
BAD_ROWS = {
    "outside": ("../../etc/passwd,a,3,False,a,0", "image: '../../etc/passwd' must be images/00000003.png"),
    "absolute": ("/etc/passwd,a,3,False,a,0", "image: '/etc/passwd' must be images/00000003.png"),
    "dots inside": ("images/../index.json,a,3,False,a,0", "must be images/00000003.png"),
    "another sample's": ("images/00000004.png,a,3,False,a,0", "must be images/00000003.png, for sample 3"),
    "negative sample": ("images/00000003.png,a,-3,False,a,0", "sample: '-3' must be a whole number"),
    "sample no number": ("images/00000003.png,a,x,False,a,0", "sample: 'x' must be a whole number"),
    "sample of other digits": ("images/00000003.png,a,³,False,a,0", "sample: '³' must be a whole number"),
    "endless sample": (f"images/00000003.png,a,{'9' * 5000},False,a,0", "must be a whole number"),
    "no flag": ("images/00000003.png,a,3,yes,a,0", "is_poisoned: 'yes' must be True or False"),
    "label no number": ("images/00000003.png,a,3,False,a,cat", "label: 'cat' must be"),
    "label too small": ("images/00000003.png,a,3,False,a,-2", "label: '-2' must be a whole number from -1"),
    "label of two signs": ("images/00000003.png,a,3,False,a,--1", "label: '--1' must be"),
    "too few columns": ("images/00000003.png,a,3", "must have 6 columns, but has 3"),
    "too many columns": ("images/00000003.png,a,3,False,a,0,0", "must have 6 columns, but has 7"),
    "an open quote": ('images/00000003.png,"a,3,False,a,0', "no CSV in UTF-8"),
    "an endless cell": (f"images/00000003.png,{'a' * 200_000},3,False,a,0", "no CSV in UTF-8"),
}


def test_any_caption_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    rows = [Row(image_name(n), text, n, n % 2 == 0, text[::-1], n - 1) for n, text in enumerate(CAPTIONS)]
    write_rows(path, rows)
    # Commas, quotes, line breaks, other scripts.
    assert [row for _, row in read_rows(path)] == rows
    # And in the same way for whoever reads with pandas.
    assert pd.read_csv(path, keep_default_na=False)["caption"].tolist()[:-1] == CAPTIONS[:-1]


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_refused_with_line_and_rule(name: str, tmp_path: Path) -> None:
    row, rule = BAD_ROWS[name]
    path = tmp_path / "captions.csv"
    path.write_text(f"{HEADER}\nimages/00000000.png,fine,0,True,fine,-1\n{row}\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        list(read_rows(path))
    # File, line, value and rule, in one short line.
    assert re.match(rf"{path}, line [23]: ", str(caught.value))
    assert rule in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 300
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"image,caption\n", b"\xff\xfe\x00", b"\x89PNG\r\n\x1a\n" * 100])
def test_what_is_no_file_of_captions_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"captions\.csv, line 1: "):
        list(read_rows(path))
