"""What people see, on a terminal and in a log."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from bdray.pipeline.store import Store
from bdray.study.plan import Job, Result, jobs
from bdray.study.progress import LiveTable, PlainLines, progress
from bdray.study.spec import LoadedStudy, load

EPOCH = {"epoch": 2.0, "loss": 1.23456, "clean_accuracy_top1": 0.5, "attack_success_rate_top1": 0.125}


@pytest.fixture
def chain(grid: LoadedStudy) -> list[Job]:
    """Base, victim and defense."""
    return jobs(grid.trial({"defense.in_modal_weight": 1}, 0))


@pytest.fixture
def finished(store: Store, compute: Callable[..., None]) -> Callable[[Job], Result]:
    def finish(job: Job) -> Result:
        compute(job)
        result = job.find(store)
        assert result is not None
        return result

    return finish


def terminal(*, is_terminal: bool) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=is_terminal, width=140, height=60, color_system=None), stream


def test_a_terminal_gets_a_table_and_a_log_gets_lines(chain: list[Job]) -> None:
    assert isinstance(progress(terminal(is_terminal=True)[0], chain, 2), LiveTable)
    assert isinstance(progress(terminal(is_terminal=False)[0], chain, 2), PlainLines)


def test_lines(chain: list[Job], finished: Callable[[Job], Result]) -> None:
    console, stream = terminal(is_terminal=False)
    base, victim, defense = chain
    with progress(console, [victim, defense], 2) as screen:
        screen.finish(base, finished(base))
        screen.start(victim)
        screen.finish(victim, finished(victim))
        screen.start(defense)
        screen.epoch(defense, EPOCH)
        screen.fail(defense, "the loss [/] is [NaN]")
    # One line per event; what the store had is not counted; brackets are text.
    assert re.sub(r"\[\d+:\d\d\] ", "", stream.getvalue()).splitlines() == [
        "victim seed=0: started",
        "victim seed=0: done CA 75.0 ASR 25.0 (1 of 2 stages)",
        "λ₂=1 seed=0: started",
        "λ₂=1 seed=0: epoch 2/3 loss 1.235 CA 50.0 ASR 12.5",
        "λ₂=1 seed=0: FAILED: the loss [/] is [NaN]",
    ]


def test_lines_of_a_search_count_what_came_up(chain: list[Job], finished: Callable[[Job], Result]) -> None:
    console, stream = terminal(is_terminal=False)
    with progress(console, [], 2) as screen:
        for job in chain:
            screen.start(job)
            screen.finish(job, finished(job))
    # Nobody knew of these jobs beforehand.
    assert [line.rpartition("(")[2] for line in stream.getvalue().splitlines() if "done" in line] == [
        "1 of 1 stages)",
        "2 of 2 stages)",
        "3 of 3 stages)",
    ]


def test_table_shows_every_state(chain: list[Job], finished: Callable[[Job], Result], grid: LoadedStudy) -> None:
    console, stream = terminal(is_terminal=True)
    base, victim, _ = chain
    failed = jobs(grid.trial({"defense.in_modal_weight": 0}, 0))[-1]
    with LiveTable(console, [*chain, failed], slots=2) as table:
        table.start(base)
        table.finish(base, finished(base))
        table.start(failed)
        table.fail(failed, "the loss [/] is [NaN]")
        table.start(victim)
        table.epoch(victim, EPOCH)
    last = stream.getvalue().rpartition("stages done")
    shown = last[0].splitlines()[-1] + "".join(last[1:])
    # What is done, running, failed and waiting, with the numbers of each; why it failed stands above the table.
    assert "1 of 4 stages done" in shown
    assert re.search(r"✓ base +pretrain +-/1 +– +– +– +0:00", shown)
    assert re.search(r"▸ victim seed=0 +victim +2/1 +1\.235 +50\.0 +12\.5 +0:00", shown)
    assert re.search(r"✗ λ₂=0 seed=0 +defend +-/3 +– +– +– +failed", shown)
    assert re.search(r"  λ₂=1 seed=0 +defend +-/3 +– +– +– +waiting", shown)
    assert "λ₂=0 seed=0: the loss [/] is [NaN]" in stream.getvalue()


def test_table_shows_the_running_ones_of_many(workplace: Path, finished: Callable[[Job], Result]) -> None:
    loaded = load("some/grid", [f"axes={{defense.in_modal_weight: {{values: {[*range(1, 101)]}}}}}"])
    many = [jobs(loaded.trial({"defense.in_modal_weight": value}, 0))[-1] for value in range(1, 101)]
    console, stream = terminal(is_terminal=True)
    with LiveTable(console, many, slots=2) as table:
        for job in many[:50]:
            table.start(job)
            table.finish(job, finished(job))
        for job in many[50:53]:
            table.start(job)
    rows = stream.getvalue().rpartition("50 of 100 stages done")[2].splitlines()
    # A screenful: the running ones are there, after those that ended last.
    assert len(rows) < 30
    assert [row.split()[1] for row in rows if "▸" in row] == ["λ₂=51", "λ₂=52", "λ₂=53"]
    assert "λ₂=50 " in "".join(rows)
    assert "λ₂=2 " not in "".join(rows)


def test_table_grows_with_a_search(chain: list[Job], finished: Callable[[Job], Result]) -> None:
    console, stream = terminal(is_terminal=True)
    with LiveTable(console, [], slots=2) as table:
        table.finish(chain[0], finished(chain[0]))
        table.start(chain[1])
    # What was there before the study is not listed.
    assert "0 of 1 stages done" in stream.getvalue()
    assert "base" not in stream.getvalue()


def test_what_is_pruned_shows_where_it_stopped(chain: list[Job]) -> None:
    console, stream = terminal(is_terminal=False)
    with progress(console, [], 2) as screen:
        screen.start(chain[2])
        screen.epoch(chain[2], EPOCH)
        screen.stop(chain[2])
    # In a log ...
    assert stream.getvalue().splitlines()[-1].endswith("λ₂=1 seed=0: pruned after epoch 2/3")
    console, stream = terminal(is_terminal=True)
    with LiveTable(console, [], slots=2) as table:
        table.start(chain[1])
        table.start(chain[2])
        table.epoch(chain[2], EPOCH)
        table.stop(chain[2])
    shown = "".join(stream.getvalue().rpartition("stages done")[1:])
    # ... and in the table, which counts it for itself and expects no more of it.
    assert "stages done, 1 pruned" in shown
    assert re.search(r"↓ λ₂=1 seed=0 +defend +2/3 +1\.235 +50\.0 +12\.5 +pruned", shown)
