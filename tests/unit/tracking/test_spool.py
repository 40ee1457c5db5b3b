"""The queue on disk: complete at every moment, and linear in what passes through it."""

import json
from pathlib import Path

import pytest

from bdray.tracking.spool import Spool

TEXT = "x" * 100


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path, "mlflow")


def file_of(folder: Path) -> Path:
    (path,) = folder.glob("pending-*.jsonl")
    return path


def lines(folder: Path) -> list[int]:
    """Numbers of the records that the file holds."""
    return [json.loads(line)["n"] for line in file_of(folder).read_text().splitlines()]


def reopened(spool: Spool, folder: Path) -> Spool:
    """The spool of the next process, after this one was killed."""
    spool.close()
    return Spool(folder, "mlflow")


def test_what_waits_costs_its_own_length_only(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewritten: list[int] = []
    write = Path.write_text

    def count(path: Path, text: str) -> int:
        rewritten.append(len(text))
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", count)
    for number in range(500):
        spool.add({"n": number, "text": TEXT})
        spool.save()
    # While MLflow is away the file only grows: nothing of it is written again.
    assert rewritten == []
    assert lines(tmp_path) == list(range(500))
    size = file_of(tmp_path).stat().st_size
    for _ in range(500):
        spool.drop()
        spool.save()
    # When it is back, all that is written again together is less than what was written once.
    assert 0 < sum(rewritten) < size
    assert not list(tmp_path.glob("pending*"))


def test_the_file_holds_what_waits_at_every_moment(spool: Spool, tmp_path: Path) -> None:
    for number in range(60):
        spool.add({"n": number})
        if number % 3 == 2:
            spool.drop()
            spool.save()
        waiting = [record["n"] for record in spool.waiting]
        # Killed here, the next process has all that waits, in order, behind some that were sent already.
        assert lines(tmp_path)[-len(waiting) :] == waiting
        assert len(lines(tmp_path)) <= 2 * len(waiting) + 1


def test_half_a_line_is_dropped_and_nothing_glued_to_it(spool: Spool, tmp_path: Path) -> None:
    spool.add({"n": 0})
    with file_of(tmp_path).open("a") as file:
        file.write('{"n": 1, "te')
    spool = reopened(spool, tmp_path)
    assert [record["n"] for record in spool.waiting] == [0]
    spool.add({"n": 2})
    # The next record has a line of its own.
    assert lines(tmp_path) == [0, 2]
    assert [record["n"] for record in reopened(spool, tmp_path).waiting] == [0, 2]


def test_a_disk_that_was_full_is_caught_up_with(spool: Spool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool.add({"n": 0})
    path = file_of(tmp_path)
    path.unlink()
    path.mkdir()  # cannot be appended to
    spool.add({"n": 1})
    assert "kept in memory only" in caplog.text
    path.rmdir()
    spool.add({"n": 2})
    # Nothing that waits in memory is missing in the file afterwards.
    assert lines(tmp_path) == [0, 1, 2]
