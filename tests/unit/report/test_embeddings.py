"""Maps of features: shown where there are some, and a file from elsewhere is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bdray.exceptions import ConfigError, DataError
from bdray.report import build
from bdray.report.embeddings import MAX_BYTES, read_points
from bdray.report.figures.embedding import MAX_MAPS, compose_maps
from bdray.report.results import load

MAP = "x,y,kind,label\n0,0,clean,ball\n1,1,clean,box\n5,5,target,banana\n4,5,triggered,ball\n5,4,triggered,box\n"
Write = Callable[..., Path]


def study(write: Write, **files: str | None) -> Path:
    """A study whose maps are these, by the name of the file; None leaves one out."""
    listed = [{"label": f"λ₂ = {name}", "seed": 0, "file": f"embeddings/{name}.csv"} for name in files]
    folder = write({"embeddings": listed})
    (folder / "embeddings").mkdir()
    for name, text in files.items():
        if text is not None:
            (folder / "embeddings" / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


def test_points_are_read_by_kind(tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text(MAP, encoding="utf-8")
    points = read_points(tmp_path / "map.csv")
    assert points is not None
    assert {kind: places.tolist() for kind, places in points.items()} == {
        "clean": [[0, 0], [1, 1]],
        "target": [[5, 5]],
        "triggered": [[4, 5], [5, 4]],
    }
    # A report does without.
    assert read_points(tmp_path / "absent.csv") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n0,0\n", "columns x, y and kind"),
        ("", "columns x, y and kind"),
        (MAP + "nan,0,clean,ball\n", "point 6: x and y must be numbers"),
        (MAP + "0,0,poisoned,ball\n", "point 6: .* one of clean, target, triggered"),
        ("x" * (MAX_BYTES + 1), "at most 16 MiB"),
    ],
)
def test_what_no_evaluation_writes_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "map.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_points(tmp_path / "map.csv")


def test_a_report_shows_maps_only_where_there_are_some(write: Write) -> None:
    report = build(study(write, one=MAP, two=MAP, gone=None))
    page = report.page.read_text(encoding="utf-8")
    # One figure with a title for each map, and a word on the one that is missing.
    assert "Where triggered images lie" in page
    assert "embeddings/gone.csv" in page
    assert "embeddings.png" in {path.name for path in report.files}


def test_a_report_without_maps_says_nothing_of_them(write: Write) -> None:
    report = build(write({}))
    assert "Where triggered images lie" not in report.page.read_text(encoding="utf-8")
    assert "embeddings.png" not in {path.name for path in report.files}


def test_each_map_has_its_own_place(write: Write) -> None:
    maps = load(study(write, **{f"m{index:02}": MAP for index in range(MAX_MAPS + 3)})).maps
    places = [axes.get_position().bounds for axes in compose_maps(maps).axes]
    # As many as a page can hold, none over another one.
    assert len(places) == len(set(places)) == MAX_MAPS
    # A map without a triggered image is one, too.
    assert compose_maps(maps[:1]).axes[0].collections


def test_a_file_outside_of_the_folder_is_refused(write: Write, tmp_path: Path) -> None:
    folder = study(write, one=None)
    (tmp_path / "elsewhere.csv").write_text(MAP, encoding="utf-8")
    (folder / "embeddings" / "one.csv").symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(ConfigError, match=r"embeddings/one\.csv leads out of the study's folder"):
        load(folder)
