from collections.abc import Callable
from pathlib import Path

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
