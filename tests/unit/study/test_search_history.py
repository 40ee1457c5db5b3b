"""The history of a search, across kills and between drivers: no point is lost, none is tried twice."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from bdray.study.search import driver as drivers
from bdray.study.search.base import Proposal
from tests.unit.study.searching import (
    ask_all,
    begin,
    database,
    distinct,
    in_another_process,
    interleaved,
    metrics,
    run_all,
    states,
    trials,
)

every_storage = pytest.mark.parametrize("kind", ["journal", "sqlite"])


def test_what_is_finished_is_proposed_again_but_not_told_again(tmp_path: Path) -> None:
    first = run_all(begin(tmp_path))
    again = begin(tmp_path)
    # The board finds their results in the store.
    assert ask_all(again) == first
    again.tell(first[0], {"clean_accuracy_top1": 9, "attack_success_rate_top1": 9})
    # An unfinished search would be told twice; a finished one is left as it is.
    assert len(trials(tmp_path)) == 4
    assert trials(tmp_path)[0].values != [9, 9]


@every_storage
@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp", "qmc", "random"])
def test_points_of_a_killed_search_come_again(tmp_path: Path, kind: str, sampler: str) -> None:
    where = database(kind, tmp_path)

    def work() -> None:
        killed = begin(tmp_path, storage=where, sampler=sampler)
        done, *_ = killed.ask(), killed.ask(), killed.ask()
        assert done is not None
        killed.tell(done, metrics(done))

    in_another_process(work)
    before = trials(tmp_path, where)
    again = run_all(begin(tmp_path, storage=where, sampler=sampler))
    # The finished one, then the two that were under way with the same knobs (so the store finds their checkpoints),
    # then a new one: four different points, no more, each under the number that it was first known by.
    assert [dict(p.point) for p in again[:3]] == [trial.params for trial in before]
    assert [p.number for p in again] == [0, 1, 2, 3]
    assert len(distinct(again)) == len(again) == 4
    found = states(tmp_path, where)
    # The orphans are closed, for Optuna would wait for them forever.
    assert found.count("COMPLETE") == 4
    assert "RUNNING" not in found


def test_any_number_of_kills_loses_nothing(tmp_path: Path) -> None:
    seen: list[Any] = []
    for finished in range(8):

        def work(finished: int = finished) -> None:
            proposer = begin(tmp_path, num_points=6)
            asked = [proposer.ask() for _ in range(min(finished + 3, 6))]
            for proposal in [each for each in asked if each is not None][: finished + 1]:
                proposer.tell(proposal, metrics(proposal))

        in_another_process(work)
        seen += [dict(trial.params) for trial in trials(tmp_path)]
    # Killed after one, two, three more...: six different points in the end, each finished once.
    assert states(tmp_path).count("COMPLETE") == 6
    assert len({tuple(params.items()) for params in seen}) == 6
    assert len(ask_all(begin(tmp_path, num_points=6))) == 6
    assert "RUNNING" not in states(tmp_path)


def test_a_kill_while_a_restart_cleans_up_repeats_nothing(tmp_path: Path) -> None:
    import optuna

    def restart() -> None:
        with pytest.MonkeyPatch.context() as patch:
            # Killed between closing the orphan and queueing its point again.
            patch.setattr(optuna.Study, "enqueue_trial", lambda *_, **__: os.kill(os.getpid(), 9))
            begin(tmp_path)

    in_another_process(lambda: begin(tmp_path).ask())
    lost = trials(tmp_path)[0].params
    in_another_process(restart)
    found = run_all(begin(tmp_path))
    assert [dict(found[0].point), len(distinct(found)), len(found)] == [lost, 4, 4]


def test_a_point_that_was_not_chosen_to_the_end_is_completed(tmp_path: Path) -> None:
    import optuna

    def half() -> None:
        proposer = begin(tmp_path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optuna.Trial, "suggest_categorical", lambda *_: os.kill(os.getpid(), 9))
            proposer.ask()

    in_another_process(half)
    (begun,) = trials(tmp_path)
    assert begun.params.keys() == {"a", "b"}
    found = run_all(begin(tmp_path))
    # What was chosen stays, the rest is chosen now.
    assert begun.params.items() <= dict(found[0].point).items()
    assert "kind" in found[0].point
    assert len(found) == 4


def test_failed_points_are_tried_again_by_the_next_run(tmp_path: Path) -> None:
    first = ask_all(proposer := begin(tmp_path))
    for proposal in first:
        proposer.tell(proposal, None if proposal.number == 2 else metrics(proposal))
    # Within a run a failure is final; it counts as one of the points.
    assert proposer.ask() is None
    proposer.close()
    for _ in range(3):
        again = ask_all(proposer := begin(tmp_path))
        assert [p.point for p in again] == [first[i].point for i in (0, 1, 3, 2)]
        assert again[-1].number == 2
        proposer.tell(again[-1], None)
        proposer.close()
    ask_all(begin(tmp_path))
    # Also after it failed again and again, as a stage of a grid is.
    assert states(tmp_path).count("COMPLETE") == 3


@pytest.mark.parametrize(
    ("lacks", "victim", "said"),
    [
        ({"clean_accuracy_top1": float("nan")}, {"clean_accuracy_top1": 1}, "it has no clean_accuracy_top1"),
        ({"loss": None}, {"clean_accuracy_top1": 1}, "it has no loss"),
        ({}, None, "it has no victim's clean_accuracy_top1"),
    ],
)
def test_a_point_that_was_not_measured_is_a_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lacks: Any, victim: Any, said: str
) -> None:
    constraints = [{"metric": "loss", "at_most": 2}, {"metric": "clean_accuracy_top1", "max_loss": 0.1}]
    proposer = begin(tmp_path, constraints=constraints)
    proposal = proposer.ask()
    assert proposal is not None
    measured = {**metrics(proposal), "loss": 1.0, **lacks}
    proposer.tell(proposal, {name: value for name, value in measured.items() if value is not None}, victim)
    # Optuna alone would leave the trial of a NaN running forever. Someone should know why nothing is learned from it.
    assert states(tmp_path) == ["FAIL"]
    assert said in caplog.text


def test_constraints_are_what_they_say(tmp_path: Path) -> None:
    constraints = [
        {"metric": "clean_accuracy_top1", "max_loss": 0.05},
        {"metric": "attack_success_rate_top1", "at_most": 0.1, "at_least": 0.01, "max_loss": 0.2},
    ]
    proposer = begin(tmp_path, constraints=constraints)
    proposal = proposer.ask()
    assert proposal is not None
    measured = {"clean_accuracy_top1": 0.8, "attack_success_rate_top1": 0.25}
    proposer.tell(proposal, measured, {"clean_accuracy_top1": 0.9, "attack_success_rate_top1": 0.15})
    # Positive by as much as each is violated. A rising ASR is a loss, for its goal is min.
    assert trials(tmp_path)[0].constraints == pytest.approx(
        {
            "clean_accuracy_top1 max_loss 0.05": 0.05,
            "attack_success_rate_top1 at_most 0.1": 0.15,
            "attack_success_rate_top1 at_least 0.01": -0.24,
            "attack_success_rate_top1 max_loss 0.2": -0.1,
        }
    )


# Several drivers.


@pytest.mark.parametrize("sampler", ["tpe", "qmc", "random"])
def test_two_drivers_share_the_points(tmp_path: Path, sampler: str) -> None:
    where = database("sqlite", tmp_path)
    first, second = (begin(tmp_path, 9, storage=where, sampler=sampler) for _ in range(2))
    own: dict[int, list[Proposal]] = {id(first): [], id(second): []}
    for proposer, proposal in interleaved(first, second):
        proposer.tell(proposal, metrics(proposal))
        own[id(proposer)].append(proposal)
    # Each point was run by one of them, and both had some.
    numbers = [proposal.number for proposals in own.values() for proposal in proposals]
    assert sorted(numbers) == list(range(9))
    assert min(map(len, own.values())) >= 3
    assert states(tmp_path, where) == ["COMPLETE"] * 9
    # Each also shows what the other found, under the same numbers.
    assert len(ask_all(begin(tmp_path, 9, storage=where, sampler=sampler))) == 9


def test_points_that_a_living_driver_works_on_are_its_own(tmp_path: Path) -> None:
    where = database("sqlite", tmp_path)
    first = begin(tmp_path, 4, storage=where)
    taken = [first.ask(), first.ask()]
    second = begin(tmp_path, 4, storage=where)
    others = ask_all(second)
    # They count as points, and are neither repeated nor closed.
    assert len(others) == 2
    assert second.limit == "4 points were tried"
    assert states(tmp_path, where) == ["RUNNING"] * 4
    for proposal in taken:
        assert proposal is not None
        first.tell(proposal, metrics(proposal))
    assert states(tmp_path, where) == ["COMPLETE"] * 2 + ["RUNNING"] * 2
    first.close()
    second.close()
    # Once they say goodbye, whatever they left is for the next one.
    assert len(distinct(run_all(begin(tmp_path, 4, storage=where)))) == 4


def test_a_driver_elsewhere_is_dead_when_it_has_been_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = database("sqlite", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(drivers, "_place", lambda: "another-machine-1")
        far = begin(tmp_path, 3, storage=where)
        assert far.ask() is not None
    near = begin(tmp_path, 3, storage=where)
    # It was seen just now, and its process id means nothing here.
    assert len(ask_all(near)) == 2
    near.close()
    later = time.time() + drivers.DEAD_AFTER_SECONDS + 1
    monkeypatch.setattr("bdray.study.search.driver.time.time", lambda: later)
    again = begin(tmp_path, 3, storage=where)
    found = ask_all(again)
    assert len(distinct(found)) == 3
    # When it comes back after all, its word is too late and does no harm.
    far.tell(found[0], metrics(found[0]), metrics(found[0]))
    assert states(tmp_path, where).count("COMPLETE") == 0


def test_drivers_that_ask_at_the_same_moment_take_no_point_too_many(tmp_path: Path) -> None:
    where = database("sqlite", tmp_path)
    first, second = (begin(tmp_path, 3, storage=where) for _ in range(2))
    ask_all_but_one = [first.ask(), second.ask()]
    assert None not in ask_all_but_one
    history: Any = second._history  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        answers = iter([False, True])
        patch.setattr(history, "is_full", lambda: next(answers))
        # The first one asks while the second has seen that one point is left.
        assert first.ask() is not None
        assert second.ask() is None
    found = trials(tmp_path, where)
    # The one too many is closed, and not tried again later.
    assert [trial.state.name for trial in found] == ["RUNNING"] * 3 + ["FAIL"]
    for proposer in (first, second):
        proposer.close()
    assert len(run_all(begin(tmp_path, 3, storage=where))) == 3


def test_a_known_point_is_taken_once(tmp_path: Path) -> None:
    where = database("sqlite", tmp_path)
    start = [{"a": 0.5, "b": 0.5, "kind": "plain"}]
    first, second = (begin(tmp_path, 3, storage=where, start=start) for _ in range(2))
    # As if both had queued it at the same moment.
    second._history.study.enqueue_trial(dict(start[0]), {"start": 0})  # type: ignore[attr-defined]
    found = ask_all(first) + ask_all(second)
    assert [p.point for p in found].count(start[0]) == 1
    assert len(found) == 3


def test_the_work_of_all_drivers_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna

    from bdray.study.search.meter import Meter

    study = optuna.create_study()
    clock = 1000.0
    monkeypatch.setattr("bdray.study.search.driver.time.time", lambda: clock)
    first, second = drivers.Driver(study, Meter()), drivers.Driver(study, Meter())
    clock = 1100.0
    first.close()
    clock = 1150.0
    second.close()
    clock = 2000.0
    third = drivers.Driver(study, Meter())
    clock = 2010.0
    # 1000-1150, in which two worked side by side, and 2000-2010.
    assert third.wall_seconds == 160
    assert {first.index, second.index} == {0, 1}
    assert third.index == 2
    assert not third.is_alive(first.id)
    assert third.is_alive(third.id)
    assert not third.is_alive(None)
    third.close()
