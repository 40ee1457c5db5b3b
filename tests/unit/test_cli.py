"""How commands end."""

from pathlib import Path

import pytest
from rich.console import Console

from bdray import cli


def test_a_full_disk_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def work(console: Console) -> int:
        with Path("/dev/full").open("w") as file:
            file.write("x")
        return cli.GOOD

    assert cli.run(work) == cli.BAD_INPUT
    err = capsys.readouterr().err
    assert err == (
        "error: the disk is full: [Errno 28] No space left on device. Make room, and run the same command again.\n"
    )


def test_other_errors_of_the_system_are_bugs() -> None:
    with pytest.raises(FileNotFoundError):
        cli.run(lambda console: int(Path("/none").read_text()))
