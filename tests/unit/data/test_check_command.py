"""``python -m bdray.data check``: what a person learns of data before training on them."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml
from PIL import Image

from bdray import config
from bdray.cli import BAD_INPUT, FOUND, GOOD
from bdray.data.__main__ import main
from bdray.testing import tiny_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_files(tmp_path)
    return tmp_path


def check(folder: Path, *words: object) -> int:
    return main(["check", *map(str, words), "--output", str(folder / "out")])


def test_a_good_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(folder, folder / "pairs.csv") == GOOD
    shown = " ".join(capsys.readouterr().out.split())
    # Counts, sizes, captions, and the pictures.
    for words in ("candidates 32", "examined 32", "bad 0 (0.0%)", "width median 48 px", "height median 40 px"):
        assert words in shown
    assert "caption median 5 words" in shown
    assert "36 words: a, noise, of, number" in shown
    with Image.open(folder / "out" / "samples.png") as sheet:
        assert sheet.width > 6 * 160
    assert not (folder / "out" / "beside_bad_ones.png").exists()


def test_bad_samples_are_named_and_change_the_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (3, 17):
        (folder / "images" / f"{number}.png").write_bytes(b"broken")
    with (folder / "pairs.csv").open("a") as file:
        file.write("images/1.png,a noise of number 1\n")
    assert check(folder, folder / "pairs.csv", "--samples", "all") == FOUND
    shown = " ".join(capsys.readouterr().out.split())
    assert "bad 3 (9.1%); at most 5.0% may be" in shown
    assert "2 x broken image" in shown
    assert "line 5 (images/3.png)" in shown
    assert "1 x duplicate" in shown
    # What stands beside bad samples can be looked at; a person who can live with it says so.
    assert (folder / "out" / "beside_bad_ones.png").exists()
    assert check(folder, folder / "pairs.csv", "max_bad_share=0.1") == GOOD


def test_shards_and_class_folders(
    folder: Path,
    shard: Callable[[Path, Mapping[str, bytes]], Path],
    pairs: Callable[..., dict[str, bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = shard(folder / "shards" / "0.tar", pairs(9))
    assert check(folder, folder / "shards") == check(folder, f"{folder}/shards/{{0..0}}.tar") == GOOD
    assert capsys.readouterr().out.count("candidates") == 2
    path.write_bytes(path.read_bytes()[:-20_000])
    # A damaged shard is never fine, for nobody knows what was lost.
    assert check(folder, folder / "shards", "max_bad_share=0.9") == FOUND
    assert "damaged shard" in capsys.readouterr().out
    assert check(folder, folder / "train") == GOOD
    assert "2 seen, of 8 to 8 images" in capsys.readouterr().out


def test_the_data_of_a_base(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "studies" / "base").mkdir(parents=True)
    tree = {"data": config.dump(tiny_files(folder))}
    (folder / "studies" / "base" / "mine.yaml").write_text(yaml.safe_dump(tree))
    (folder / "studies" / "one.yaml").write_text("title: One\nbase: mine\n")
    monkeypatch.chdir(folder)
    # All that it reads, as it would draw it, under the base's name or a study's.
    assert check(folder, "mine") == check(folder, "one") == GOOD
    shown = capsys.readouterr().out
    for part in ("data.train", "data.finetune", "data.task, validation", "data.task, test"):
        assert shown.count(part) >= 2
    assert "16 are drawn" in shown
    assert (folder / "out" / "train" / "samples.png").exists()
    # Too few are told before the run tells.
    assert check(folder, "mine", "data.finetune.num_samples=17") == FOUND
    assert "about 1 too few" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing/here"], "error: SOURCE: {folder}/nothing/here is no table"),
        (["nothing.csv"], "error: SOURCE.path: 'nothing.csv': there is no file at {folder}/nothing.csv"),
        # What is absolute already is said once.
        (["/nothing.csv"], "error: SOURCE.path: there is no file at /nothing.csv"),
        (["pairs.csv", "image_colunm=x"], "error: command line: image_colunm: unknown field. Did you mean"),
        (["pairs.csv", "image_column=x"], "error: SOURCE: {folder}/pairs.csv: its first line"),
        (["some.json"], "images: is required"),
    ],
)
def test_what_cannot_be_checked(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.setenv("BDRAY_DATA", str(folder))
    assert check(folder, *words) == BAD_INPUT
    assert message.format(folder=folder) in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_data_that_are_drawn_need_no_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(folder, "scenes") == BAD_INPUT
    assert "'scenes', which reads no files" in capsys.readouterr().err


def test_it_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bdray.data", "check", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "BDRAY_DATA" in done.stdout


def test_describing_data_imports_nothing_heavy() -> None:
    heavy = {"torch", "torchvision", "open_clip", "PIL", "fsspec", "pyarrow", "pandas"}
    code = f"import sys; from bdray.data.base import Dataset; Dataset.members(); print(*({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # A study is read on a laptop within a second.
    assert done.stdout.split() == []
