"""Searches: all of a grid, and Optuna across any number of restarts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bdray.exceptions import ConfigError
from bdray.study.search.base import Proposal, Proposer, Search
from bdray.study.search.grid import Grid
from bdray.study.search.optuna import OptunaSearch
from bdray.study.space import Axis

AXES = {"a": Axis(low=0, high=1), "b": Axis(low=1e-3, high=1.0, log=True), "c": Axis(values=(1, "x"))}
GOALS = {"clean_accuracy_top1": "max", "attack_success_rate_top1": "min"}


def metrics(proposal: Proposal) -> dict[str, float]:
    return {"clean_accuracy_top1": proposal.point["a"], "attack_success_rate_top1": proposal.point["b"]}


def begin(folder: Path, num_points: int = 4, **fields: Any) -> Proposer:
    return OptunaSearch(num_points=num_points, **fields).open(AXES, GOALS, folder)


def ask_all(proposer: Proposer) -> list[Proposal]:
    return list(iter(proposer.ask, None))


def distinct(proposals: list[Proposal]) -> list[Mapping[str, Any]]:
    """Different points, in order."""
    return [p.point for i, p in enumerate(proposals) if p.point not in [q.point for q in proposals[:i]]]


def trials(folder: Path) -> list[Any]:
    """What the journal holds."""
    import optuna

    backend = optuna.storages.journal.JournalFileBackend(str(folder / "optuna.journal"))
    return optuna.load_study(study_name="bdray", storage=optuna.storages.JournalStorage(backend)).trials


# Grid.


def test_a_grid_is_every_combination_in_order() -> None:
    axes = {"a": Axis(values=(1, 2)), "b": Axis(values=("x", "y"))}
    proposer = Grid().open(axes, GOALS, Path())
    # The last axis turns fastest, numbers count up, and then there is no more.
    assert ask_all(proposer) == [
        Proposal(0, {"a": 1, "b": "x"}),
        Proposal(1, {"a": 1, "b": "y"}),
        Proposal(2, {"a": 2, "b": "x"}),
        Proposal(3, {"a": 2, "b": "y"}),
    ]
    assert proposer.ask() is None
    assert Grid().planned(axes) == 4


def test_a_grid_without_axes_is_one_point() -> None:
    # A single experiment with several seeds is a study, too.
    assert ask_all(Grid().open({}, GOALS, Path())) == [Proposal(0, {})]


def test_a_grid_cannot_walk_a_range() -> None:
    with pytest.raises(ConfigError, match=r"axes\.a: a grid needs values or variants, not a range"):
        Grid().check(AXES, GOALS)


# Optuna.


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_optuna_asks_for_as_many_points_as_it_should(tmp_path: Path, sampler: str) -> None:
    proposer = begin(tmp_path, sampler=sampler)
    for asked in range(4):
        proposal = proposer.ask()
        assert proposal is not None
        # Points lie in the ranges and among the values, of every type.
        assert proposal.number == asked
        assert 0 <= proposal.point["a"] <= 1
        assert 1e-3 <= proposal.point["b"] <= 1
        assert proposal.point["c"] in (1, "x")
        proposer.tell(proposal, metrics(proposal))
    assert proposer.ask() is None
    # Both objectives are in the journal.
    assert all(trial.values == [trial.params["a"], trial.params["b"]] for trial in trials(tmp_path))


def test_points_may_be_under_way_at_once(tmp_path: Path) -> None:
    proposer = begin(tmp_path)
    first, second = proposer.ask(), proposer.ask()
    assert first is not None
    assert second is not None
    proposer.tell(second, metrics(second))
    third = proposer.ask()
    assert third is not None
    proposer.tell(first, metrics(first))
    proposer.tell(third, metrics(third))
    # Told in any order, each point got its own values.
    assert [trial.values[0] for trial in trials(tmp_path)] == [p.point["a"] for p in (first, second, third)]


def test_integers_are_integers(tmp_path: Path) -> None:
    axes = {"n": Axis(low=1, high=64, integer=True, log=True)}
    found = ask_all(OptunaSearch(num_points=5).open(axes, GOALS, tmp_path))
    assert all(isinstance(p.point["n"], int) and 1 <= p.point["n"] <= 64 for p in found)


def test_what_is_finished_is_proposed_again_but_not_told_again(tmp_path: Path) -> None:
    first = ask_all(proposer := begin(tmp_path))
    for proposal in first:
        proposer.tell(proposal, metrics(proposal))
    again = begin(tmp_path)
    # The board finds their results in the store.
    assert ask_all(again) == first
    again.tell(first[0], {"clean_accuracy_top1": 9, "attack_success_rate_top1": 9})
    # An unfinished search would be told twice; a finished one is left as it is.
    assert len(trials(tmp_path)) == 4
    assert trials(tmp_path)[0].values != [9, 9]


def test_points_of_a_killed_search_come_again(tmp_path: Path) -> None:
    killed = begin(tmp_path)
    done, lost, _ = killed.ask(), killed.ask(), killed.ask()
    assert done is not None
    assert lost is not None
    killed.tell(done, metrics(done))
    again = ask_all(proposer := begin(tmp_path))
    # The finished one, then the two that were under way with the same knobs (so the store finds their checkpoints),
    # then a new one: four different points, no more.
    assert again[0] == done
    assert again[1].point == lost.point
    assert len(distinct(again)) == len(again) == 4
    for proposal in again:
        proposer.tell(proposal, metrics(proposal))
    states = [trial.state.name for trial in trials(tmp_path)]
    # The orphans are closed, for Optuna would wait for them forever.
    assert states.count("COMPLETE") == 4
    assert states.count("FAIL") == 2
    assert "RUNNING" not in states


def test_any_number_of_restarts_gives_the_points_that_were_asked_for(tmp_path: Path) -> None:
    seen: list[Proposal] = []
    for finished in range(8):
        proposer = begin(tmp_path, num_points=6)
        asked = [proposer.ask() for _ in range(min(finished + 3, 6))]
        proposals = [proposal for proposal in asked if proposal is not None]
        seen += proposals
        for proposal in proposals[: finished + 1]:
            proposer.tell(proposal, metrics(proposal))
    states = [trial.state.name for trial in trials(tmp_path)]
    # Killed after one, two, three more...: six different points in the end, each finished once.
    assert states.count("COMPLETE") == 6
    assert len(distinct(seen)) == 6
    assert "RUNNING" not in states
    assert len(ask_all(begin(tmp_path, num_points=6))) == 6


def test_a_kill_while_a_restart_cleans_up_repeats_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna

    begin(tmp_path).ask()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(optuna.Study, "tell", _die)
        begin(tmp_path)
    # The orphan had been enqueued and was still running when the restart itself was killed.
    assert len(distinct(ask_all(begin(tmp_path)))) == 4


def _die(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_failed_points_are_tried_again_by_the_next_run(tmp_path: Path) -> None:
    proposer = begin(tmp_path)
    first = ask_all(proposer)
    for proposal in first:
        proposer.tell(proposal, None if proposal.number == 2 else metrics(proposal))
    # Within a run a failure is final; it counts as one of the points.
    assert proposer.ask() is None
    for _ in range(3):
        again = ask_all(proposer := begin(tmp_path))
        assert [p.point for p in again] == [first[i].point for i in (0, 1, 3, 2)]
        proposer.tell(again[-1], None)
    ask_all(proposer := begin(tmp_path))
    # Also after it failed again and again, as a stage of a grid is.
    assert [trial.state.name for trial in trials(tmp_path)].count("COMPLETE") == 3


def test_a_restart_does_not_replay_the_first_suggestions(tmp_path: Path) -> None:
    proposer = begin(tmp_path, num_points=2, sampler="random")
    first = ask_all(proposer)
    for proposal in first:
        proposer.tell(proposal, metrics(proposal))
    longer = ask_all(begin(tmp_path, num_points=4, sampler="random"))
    # The same seed would give the same points once more.
    assert longer[:2] == first
    assert len(distinct(longer)) == 4


@pytest.mark.parametrize(("axes", "goals"), [({}, GOALS), (AXES, {})])
def test_optuna_needs_something_to_turn_and_something_to_look_at(axes: dict[str, Axis], goals: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="at least one axis and one metric"):
        OptunaSearch(num_points=1).check(axes, goals)


def test_every_search_is_in_the_family() -> None:
    assert Search.members().keys() == {"grid", "optuna"}
