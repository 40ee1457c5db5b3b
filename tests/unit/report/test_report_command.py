from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray.report.__main__ import main

Write = Callable[..., Path]


def test_rebuilds_a_folder(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write()
    # table, finding and paths, status 0
    assert main([str(folder)]) == 0
    output = capsys.readouterr().out
    assert "victim (no defense)" in output
    assert "falls at every step" in output
    assert "report.html" in output


def test_finds_a_study_by_name(write: Write, tmp_path: Path) -> None:
    (tmp_path / "studies" / "ablations").mkdir(parents=True)
    write().rename(tmp_path / "studies" / "ablations" / "lambda2")
    # a name is looked up under OUTPUT/studies
    assert main(["ablations/lambda2", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "studies" / "ablations" / "lambda2" / "report.html").is_file()


def test_unknown_name_is_one_line(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "studies" / "ablations").mkdir(parents=True)
    write().rename(tmp_path / "studies" / "ablations" / "lambda2")
    # status 2, one line, the nearest known study, no traceback
    assert main(["ablations/lamda2", "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Did you mean 'ablations/lambda2'?" in error


def test_damaged_folder_is_one_line(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write()
    (folder / "results.csv").write_text("role,seed\nvictim,zero\n", encoding="utf-8")
    # a damaged file is named
    assert main([str(folder)]) == 2
    assert "results.csv: the column 'status' is missing" in capsys.readouterr().err


@pytest.fixture
def stores(write_to: Callable[..., Path], model_row: Callable[..., Any], tmp_path: Path) -> list[str]:
    """Two output folders; both have the small study some/a, the second also some/b."""
    rows = [model_row("trial", seed, 1, 0.5 + seed / 10, 0.9) for seed in (0, 1)]
    for place, name in (("one", "some/a"), ("two", "some/a"), ("two", "some/b")):
        write_to(tmp_path / place / "studies" / name, {"name": name, "published": []}, rows, [])
    return [f"--output={tmp_path / place}" for place in ("one", "two")]


def test_several_studies_are_rebuilt_and_compared(
    stores: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["some/a", "some/b", stores[1]]) == 0
    # a report each, and a comparison below the first output folder
    assert (tmp_path / "two" / "studies" / "some" / "b" / "report.html").is_file()
    assert (tmp_path / "two" / "comparisons" / "some-a+some-b" / "comparison.html").is_file()
    output = " ".join(capsys.readouterr().out.split())
    assert "Comparison of some/a and some/b some/b has 1 of its 1 kinds of models in common with some/a, 1 of" in output


def test_a_name_stands_for_the_studies_of_all_stores(stores: list[str], tmp_path: Path) -> None:
    assert main(["some/a", *stores, "-o", str(tmp_path / "to")]) == 0
    page = (tmp_path / "to" / "comparison.html").read_text(encoding="utf-8")
    assert "Comparison of some/a (one) and some/a (two)" in page


def test_a_study_may_be_in_the_second_store_only(stores: list[str], tmp_path: Path) -> None:
    # one study, so no comparison
    assert main(["some/b", *stores]) == 0
    assert not (tmp_path / "one" / "comparisons").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["some/c"], ["some/c: neither", "one/studies and", "two/studies", "Did you mean 'some/b' or 'some/a'?"]),
        (["some/b", "--to", "x"], ["--to x", "needs two studies"]),
        (["some/b", "some/b"], ["some/b", "named twice"]),
    ],
)
def test_mistakes_are_one_line(
    stores: list[str], capsys: pytest.CaptureFixture[str], words: list[str], parts: list[str]
) -> None:
    assert main([*words, *stores]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert [part for part in parts if part not in error] == []


def test_a_comparison_that_cannot_be_written_is_one_line(
    stores: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["some/a", *stores, "--to", str(tmp_path / "file")]) == 2
    assert "file: the comparison cannot be written there." in capsys.readouterr().err
