"""Early stopping: which points are stopped, and that a restart neither forgets nor judges twice."""

from pathlib import Path
from typing import Any

import pytest

from bdray import config
from bdray.exceptions import ConfigError
from bdray.study.search.base import Proposal, Proposer, Pruned
from bdray.study.search.optuna import OptunaSearch
from bdray.study.stopping.base import Stopping
from bdray.study.stopping.halving import Halving
from bdray.study.stopping.median import Median
from bdray.study.stopping.percentile import Percentile
from tests.unit.study.searching import (
    AXES,
    GOALS,
    ask_all,
    begin,
    database,
    in_another_process,
    metrics,
    states,
    trials,
)

ASR, NAME = "attack_success_rate_top1", "bdray-stopping"
MEDIAN = {"type": "median", "min_points": 2, "min_epochs": 1}
EPOCHS = 4


def epochs(*values: float) -> list[dict[str, float]]:
    return [{"epoch": epoch + 1.0, ASR: value, "loss": 2.0} for epoch, value in enumerate(values)]


def train(proposer: Proposer, *values: float, first: int = 1) -> tuple[Proposal, Pruned | None]:
    """Take a point, report its epochs until it is stopped, else tell its result."""
    proposal = proposer.ask()
    assert proposal is not None
    for epoch in epochs(*values)[first - 1 :]:
        pruned = proposer.judge(proposal, epoch, is_last=epoch["epoch"] == EPOCHS)
        if pruned is not None:
            return proposal, pruned
    proposer.tell(proposal, {**metrics(proposal), ASR: values[-1]})
    return proposal, None


def start(folder: Path, stopping: Any, num_points: int = 12, **fields: Any) -> Proposer:
    return begin(folder, num_points, stopping=stopping, **fields)


def test_every_rule_is_in_the_family() -> None:
    assert Stopping.members() == {"halving": Halving, "median": Median, "percentile": Percentile}
    for cls in (Halving, Median, Percentile):
        rule = config.build(cls, {}, "test")
        assert isinstance(rule, Stopping)
        # For the report, and for Optuna.
        assert rule.rule
        assert rule.pruner()


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_median(tmp_path: Path, kind: str) -> None:
    where = database(kind, tmp_path)
    proposer = start(tmp_path, MEDIAN, storage=where)
    for value in (0.2, 0.4):
        assert train(proposer, value, value, value, value)[1] is None
    # Two points are finished; their median is 0.3 in every epoch. Worse ones stop as soon as they are, at once ...
    stopped, pruned = train(proposer, 0.5, 0.5)
    assert pruned == Pruned(tuple(epochs(0.5)))
    # ... or later, for what counts is the best epoch so far.
    assert train(proposer, 0.1, 0.9, 0.9, 0.9)[1] is None
    proposal, late = train(proposer, 0.6)
    assert late is not None
    assert late.epoch == 1
    assert states(tmp_path, where) == ["COMPLETE"] * 2 + ["PRUNED", "COMPLETE", "PRUNED"]
    assert states(tmp_path, where, NAME) == ["COMPLETE"] * 2 + ["PRUNED", "COMPLETE", "PRUNED"]
    # What is pruned has its epochs with it, and no values.
    assert trials(tmp_path, where)[2].user_attrs["pruned"] == epochs(0.5)
    assert trials(tmp_path, where)[2].values is None
    assert (stopped.number, proposal.number) == (2, 4)


def test_the_goal_decides_which_way_is_better(tmp_path: Path) -> None:
    rule = {**MEDIAN, "metric": "clean_accuracy_top1"}
    proposer = start(tmp_path, rule)
    for value in (0.2, 0.8, 0.6):
        proposal = proposer.ask()
        assert proposal is not None
        pruned = proposer.judge(proposal, {"epoch": 1.0, "clean_accuracy_top1": value}, is_last=False)
        # More is better: 0.6 is above the median of the finished ones, 0.5.
        assert pruned is None
        if value < 0.6 or value == 0.8:
            proposer.tell(proposal, metrics(proposal))
    proposal = proposer.ask()
    assert proposal is not None
    assert proposer.judge(proposal, {"epoch": 1.0, "clean_accuracy_top1": 0.4}, is_last=False)


def test_percentile(tmp_path: Path) -> None:
    proposer = start(tmp_path, {"type": "percentile", "percentile": 25, "min_points": 4, "min_epochs": 2})
    for value in (0.1, 0.2, 0.3, 0.4):
        train(proposer, *[value] * 4)
    # The best quarter of four begins at 0.175; the first epoch is everybody's.
    _, pruned = train(proposer, 0.2, 0.2, 0.2, 0.2)
    assert pruned is not None
    assert pruned.epoch == 2
    assert train(proposer, 0.9, 0.15, 0.15, 0.15)[1] is None


def test_halving(tmp_path: Path) -> None:
    proposer = start(tmp_path, {"type": "halving", "min_epochs": 1, "reduction_factor": 2})
    # The first one goes on, as the best of all; it is beaten, and so the second goes on, too.
    assert train(proposer, 0.5, 0.5, 0.5, 0.5)[1] is None
    assert train(proposer, 0.4, 0.4, 0.4, 0.4)[1] is None
    # The third is not among the best half of three at epoch 1; the fourth is, but falls back until epoch 2.
    _, third = train(proposer, 0.6)
    _, fourth = train(proposer, 0.3, 0.7)
    assert third is not None
    assert fourth is not None
    assert (third.epoch, fourth.epoch) == (1, 2)
    # Epoch 3 is no rung, and in the last epoch there is nothing to save.
    assert train(proposer, 0.1, 0.1, 0.9, 0.9)[1] is None


def test_epochs_without_the_metric_are_not_judged(tmp_path: Path) -> None:
    proposer = start(tmp_path, MEDIAN)
    for value in (0.2, 0.4):
        train(proposer, value, value)
    proposal = proposer.ask()
    assert proposal is not None
    # A phase that does not measure it, and one that measures nonsense.
    assert proposer.judge(proposal, {"epoch": 1.0, "loss": 9.0}, is_last=False) is None
    assert proposer.judge(proposal, {"epoch": 2.0, ASR: float("nan")}, is_last=False) is None
    (running,) = [trial for trial in trials(tmp_path, name=NAME) if trial.state.name == "RUNNING"] or [None]
    assert running is None or running.intermediate_values == {}


def test_a_resumed_point_is_not_judged_twice(tmp_path: Path) -> None:
    def work() -> None:
        killed = start(tmp_path, MEDIAN)
        for value in (0.3, 0.4):
            train(killed, *[value] * 4)
        proposal = killed.ask()
        assert proposal is not None
        for epoch in epochs(0.1, 0.1):
            assert killed.judge(proposal, epoch, is_last=False) is None

    in_another_process(work)
    again = start(tmp_path, MEDIAN)
    first, second = again.ask(), again.ask()
    assert first is not None
    assert second is not None
    proposal = again.ask()
    assert proposal is not None
    assert proposal.number == 2
    # It reports again what it had reported, as it was or, were it not so, worse: that was judged then.
    for epoch in epochs(0.9, 0.9):
        assert again.judge(proposal, epoch, is_last=False) is None
    trajectory = trials(tmp_path, name=NAME)[-1]
    assert trajectory.intermediate_values == {1: 0.1, 2: 0.1}
    # The next epoch continues the same trajectory, whose best is still 0.1.
    assert again.judge(proposal, epochs(0, 0, 0.9)[2], is_last=False) is None
    assert trials(tmp_path, name=NAME)[-1].intermediate_values == {1: 0.1, 2: 0.1, 3: 0.9}
    assert len(trials(tmp_path, name=NAME)) == 3


def test_what_was_pruned_stays_pruned(tmp_path: Path) -> None:
    proposer = start(tmp_path, MEDIAN, num_points=4)
    for value in (0.2, 0.4):
        train(proposer, value, value)
    stopped, pruned = train(proposer, 0.5)
    proposer.close()
    for _ in range(2):
        again = start(tmp_path, MEDIAN, num_points=4)
        found = ask_all(again)
        # It comes with its epochs, for the results, and counts as a point.
        assert len(found) == 4
        assert found[2] == Proposal(stopped.number, stopped.point, pruned)
        again.close()


@pytest.mark.parametrize("place", ["set_user_attr", "tell"])
def test_a_kill_while_a_point_is_pruned(tmp_path: Path, place: str) -> None:
    import os

    import optuna

    def work() -> None:
        killed = start(tmp_path, MEDIAN, num_points=4)
        for value in (0.2, 0.4):
            train(killed, value, value)
        owner = optuna.Trial if place == "set_user_attr" else optuna.Study
        with pytest.MonkeyPatch.context() as patch:
            proposal = killed.ask()
            assert proposal is not None
            patch.setattr(owner, place, lambda *_, **__: os.kill(os.getpid(), 9))
            killed.judge(proposal, epochs(0.5)[0], is_last=False)

    in_another_process(work)
    again = start(tmp_path, MEDIAN, num_points=4)
    found = ask_all(again)[2]
    if place == "tell":
        # The decision was written down, so it holds.
        assert found.pruned == Pruned(tuple(epochs(0.5)))
        assert states(tmp_path)[2] == "PRUNED"
    else:
        # It was not, so nobody was told: the point goes on, and its next epoch decides.
        assert found.pruned is None
        assert again.judge(found, epochs(0.5)[0], is_last=False) is None
        assert again.judge(found, epochs(0.5, 0.5)[1], is_last=False) is not None


def test_a_kill_while_a_point_is_told(tmp_path: Path) -> None:
    import os

    import optuna

    def work() -> None:
        killed = start(tmp_path, MEDIAN, num_points=2)
        with pytest.MonkeyPatch.context() as patch:
            whole = optuna.Study.tell

            def half(study: optuna.Study, *arguments: Any, **fields: Any) -> Any:
                if study.study_name == "bdray":
                    os.kill(os.getpid(), 9)
                return whole(study, *arguments, **fields)

            patch.setattr(optuna.Study, "tell", half)
            train(killed, 0.3, 0.3, 0.3, 0.3)

    in_another_process(work)
    again = start(tmp_path, MEDIAN, num_points=2)
    train(again, 0.3, 0.3, 0.3, 0.3)
    # The point comes again; its epochs, which were noted to the end, do not.
    assert states(tmp_path).count("COMPLETE") == 1
    assert states(tmp_path, name=NAME) == ["COMPLETE"]


def test_a_failed_point_begins_anew(tmp_path: Path) -> None:
    proposer = start(tmp_path, MEDIAN, num_points=3)
    proposal = proposer.ask()
    assert proposal is not None
    proposer.judge(proposal, epochs(0.3)[0], is_last=False)
    proposer.tell(proposal, None)
    proposer.close()
    again = start(tmp_path, MEDIAN, num_points=3)
    retried, _ = train(again, 0.3, 0.3, 0.3, 0.3)
    assert retried.point == proposal.point
    # Its first attempt is closed as what it was.
    assert states(tmp_path, name=NAME) == ["FAIL", "COMPLETE"]


def test_a_search_without_stopping_keeps_no_epochs(tmp_path: Path) -> None:
    import optuna

    proposer = begin(tmp_path)
    proposal = proposer.ask()
    assert proposal is not None
    assert proposer.judge(proposal, epochs(1.0)[0], is_last=False) is None
    with pytest.raises(KeyError):
        optuna.load_study(study_name=NAME, storage=proposer._history.study._storage)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"metric": "loss"}, "stopping.metric: loss is none of the study's metrics. Give goal, min or max"),
        ({"metric": ASR, "goal": "max"}, "stopping.goal: max contradicts the study's metrics"),
    ],
)
def test_the_goal_must_be_known(fields: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        OptunaSearch(num_points=1, stopping=Median(**fields)).check(AXES, GOALS)
    # A goal of its own makes any metric fit.
    OptunaSearch(num_points=1, stopping=Median(metric="loss", goal="min")).check(AXES, GOALS)
