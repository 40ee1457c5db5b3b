import base64
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from bdray.exceptions import ConfigError
from bdray.report.examples import Picture, read_pictures
from bdray.report.results import load
from bdray.report.study import Example

FILE = "examples/badnet-0.png"


def read(folder: Path) -> Picture:
    (picture,) = read_pictures(folder, [Example(label="BadNet", file=FILE)])
    return picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study's folder with room for pictures."""
    (tmp_path / "study" / "examples").mkdir(parents=True)
    return tmp_path / "study"


def test_a_picture_survives_the_way_into_a_page(folder: Path) -> None:
    image = Image.effect_noise((60, 30), 90).convert("RGB")
    image.save(folder / FILE)
    picture = read(folder)
    # three rows of images of 10 pixels, so six columns
    assert (picture.size, picture.columns) == ((60, 30), 6)
    head, _, code = picture.uri.partition(",")
    # the page gets the pixels as they were
    assert head == "data:image/png;base64"
    assert Image.open(BytesIO(base64.b64decode(code))).tobytes() == image.tobytes()


def test_a_missing_picture_is_none(folder: Path) -> None:
    picture = read(folder)
    # no picture, no size, nothing raised
    assert (picture.pixels, picture.size, picture.columns, picture.uri) == (None, (0, 0), 0, "")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_a_damaged_picture_is_as_good_as_none(folder: Path, share: float) -> None:
    buffer = BytesIO()
    Image.effect_noise((60, 30), 90).convert("RGB").save(buffer, format="png")
    whole = buffer.getvalue()
    (folder / FILE).write_bytes(whole[: int(share * len(whole))])
    # wherever it ends
    assert read(folder).pixels is None


@pytest.mark.parametrize(("size", "kind"), [((60, 31), "png"), ((55, 30), "png"), ((60, 30), "jpeg")])
def test_only_rows_of_squares_in_a_png_are_a_picture(folder: Path, size: tuple[int, int], kind: str) -> None:
    Image.new("RGB", size).save(folder / FILE, format=kind)
    # anything else would be labeled wrongly
    assert read(folder).pixels is None


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (60, 30)).save(tmp_path / "private.png")
    (folder / FILE).symlink_to(tmp_path / "private.png")
    # a report that someone sends on must not carry what lies elsewhere on this machine
    with pytest.raises(ConfigError, match=r"study\.json: examples: examples/badnet-0\.png leads out of the study's"):
        read(folder)


@pytest.mark.parametrize(
    "file", ["../secret.png", "/etc/secret.png", "examples/../../a.png", "examples/..", "examples/a.svg", "a.png"]
)
def test_a_path_out_of_the_folder_is_refused(overview: Callable[..., Path], file: str) -> None:
    folder = overview(examples=[{"label": "BadNet", "file": file}])
    # whatever study.json says, only the folder of pictures is read
    with pytest.raises(ConfigError, match=r"study\.json.*examples\.0\.file"):
        load(folder)
