"""Searches: all of a grid, and what every sampler keeps, wherever its history is."""

from pathlib import Path
from statistics import median
from typing import Any

import pytest

from bdray.exceptions import ConfigError
from bdray.study.search.base import Proposal, Search
from bdray.study.search.grid import Grid
from bdray.study.search.meter import Meter
from bdray.study.search.optuna import OptunaSearch
from bdray.study.search.random import RandomSearch
from bdray.study.space import Axis
from tests.unit.study.searching import (
    AXES,
    GOALS,
    ask_all,
    begin,
    database,
    distinct,
    home,
    metrics,
    run_all,
    states,
    trials,
)

SAMPLERS: list[tuple[Any, dict[str, Any]]] = [
    *((OptunaSearch, {"sampler": name, "num_startup": 3}) for name in ("tpe", "nsga2", "gp", "qmc", "random")),
    (RandomSearch, {}),
]
every_sampler = pytest.mark.parametrize(
    ("search", "fields"), SAMPLERS, ids=lambda value: value.get("sampler", "") if isinstance(value, dict) else None
)


def test_every_search_is_in_the_family() -> None:
    # What only the others share is none.
    assert Search.members().keys() == {"grid", "optuna", "random"}


# Grid.


def test_a_grid_is_every_combination_in_order(tmp_path: Path) -> None:
    axes = {"a": Axis(values=(1, 2)), "b": Axis(values=("x", "y"))}
    proposer = Grid().open(axes, GOALS, home(tmp_path))
    # The last axis turns fastest, numbers count up, and then there is no more.
    assert ask_all(proposer) == [
        Proposal(0, {"a": 1, "b": "x"}),
        Proposal(1, {"a": 1, "b": "y"}),
        Proposal(2, {"a": 2, "b": "x"}),
        Proposal(3, {"a": 2, "b": "y"}),
    ]
    assert proposer.ask() is None
    assert proposer.limit == ""
    assert Grid().planned(axes) == 4


def test_a_grid_has_no_point_twice_where_an_axis_is_not_turned(tmp_path: Path) -> None:
    axes = {"k": Axis(values=(1, 2), when={"kind": "deep"}), "kind": Axis(values=("plain", "deep"))}
    points = [proposal.point for proposal in ask_all(Grid().open(axes, GOALS, home(tmp_path)))]
    # In the order in which the axes are written, whichever depends on which.
    assert points == [{"kind": "plain"}, {"k": 1, "kind": "deep"}, {"k": 2, "kind": "deep"}]
    assert Grid().planned(axes) == 3


def test_a_grid_without_axes_is_one_point(tmp_path: Path) -> None:
    # A single experiment with several seeds is a study, too.
    assert ask_all(Grid().open({}, GOALS, home(tmp_path))) == [Proposal(0, {})]


def test_a_grid_cannot_walk_a_range() -> None:
    with pytest.raises(ConfigError, match=r"axes\.a: a grid needs values or variants, not a range"):
        Grid().check(AXES, GOALS)


# Every sampler.


@every_sampler
@pytest.mark.parametrize(
    ("kind", "goals"),
    [("journal", GOALS), ("sqlite", GOALS), ("journal", {"clean_accuracy_top1": "max"})],
    ids=["journal", "sqlite", "one goal"],
)
def test_points_lie_in_the_space(
    tmp_path: Path, search: Any, fields: dict[str, Any], kind: str, goals: dict[str, str]
) -> None:
    where = database(kind, tmp_path)
    constraints = [{"metric": "clean_accuracy_top1", "at_least": 0.5}]
    found = run_all(
        begin(tmp_path, 6, storage=where, goals=goals, search=search, constraints=constraints, seed=3, **fields)
    )
    assert [proposal.number for proposal in found] == list(range(6))
    for proposal in found:
        point = dict(proposal.point)
        # Every axis has a value of its own kind, in the order in which axes are written, and idle ones have none.
        assert list(point) == ["a", "b", "kind", *(["depth"] if point["kind"] == "deep" else [])]
        assert all(AXES[path].allows(value) for path, value in point.items())
        assert isinstance(point.get("depth", 2), int)
    # Both kinds were tried, and everything was told: values of all objectives, and the constraint.
    assert {proposal.point["kind"] for proposal in found} == {"plain", "deep"}
    history = trials(tmp_path, where)
    assert [trial.values for trial in history] == [[metrics(p)[name] for name in goals] for p in found]
    assert [trial.constraints for trial in history] == [
        {"clean_accuracy_top1 at_least 0.5": 0.5 - proposal.point["a"]} for proposal in found
    ]


@every_sampler
def test_a_restart_goes_on_instead_of_repeating(tmp_path: Path, search: Any, fields: dict[str, Any]) -> None:
    first = run_all(begin(tmp_path, 5, search=search, **fields))
    again = begin(tmp_path, 10, search=search, **fields)
    longer = run_all(again)
    # The finished ones come once more, for the board finds their results in the store; then others.
    assert longer[:5] == first
    assert len(longer) == 10
    # A genetic algorithm may have a child that is like its parent.
    assert len(distinct(longer)) >= (8 if fields.get("sampler") == "nsga2" else 10)
    assert [proposal.number for proposal in longer] == list(range(10))
    assert states(tmp_path) == ["COMPLETE"] * 10


@every_sampler
def test_the_same_search_twice_proposes_the_same(tmp_path: Path, search: Any, fields: dict[str, Any]) -> None:
    points = [run_all(begin(tmp_path / name, 6, search=search, seed=5, **fields)) for name in ("one", "two")]
    assert points[0] == points[1]
    # And with another seed something else.
    assert run_all(begin(tmp_path / "three", 6, search=search, seed=6, **fields)) != points[0]


def search_on_a_line(folder: Path, count: int, constraints: list[dict[str, Any]], sampler: str) -> list[float]:
    """Points from 0 to 10: the further right, the lower the ASR; right of 5, clean accuracy is lost."""
    goals, axes = {"attack_success_rate_top1": "min"}, {"x": Axis(low=0, high=10)}
    fields: dict[str, Any] = {"sampler": sampler, "num_startup": 8, "constraints": constraints}
    proposer, found = begin(folder, count, goals=goals, axes=axes, **fields), []
    for proposal in iter(proposer.ask, None):
        x = proposal.point["x"]
        found.append(x)
        accuracy = 0.9 if x <= 5 else 0.5
        proposer.tell(proposal, {"attack_success_rate_top1": 1 - x / 10, "clean_accuracy_top1": accuracy})
    return found


@pytest.mark.parametrize(("sampler", "count"), [("tpe", 40), ("gp", 18)])
def test_a_sampler_learns_within_constraints(tmp_path: Path, sampler: str, count: int) -> None:
    free = search_on_a_line(tmp_path / "free", count, [], sampler)
    bound = search_on_a_line(tmp_path / "bound", count, [{"metric": "clean_accuracy_top1", "at_least": 0.8}], sampler)
    # Without a constraint it goes to where ASR is lowest; with one, to the edge of where that is kept.
    assert median(free[-10:]) > 8
    assert 4 < median(bound[-10:]) < 6


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
    assert [trial.values[0] for trial in trials(tmp_path)[:3]] == [p.point["a"] for p in (first, second, third)]


def test_integers_are_integers(tmp_path: Path) -> None:
    axes = {"n": Axis(low=1, high=64, integer=True, log=True)}
    found = run_all_of(axes, tmp_path)
    assert all(isinstance(p.point["n"], int) and 1 <= p.point["n"] <= 64 for p in found)


def run_all_of(axes: dict[str, Axis], folder: Path) -> list[Proposal]:
    return ask_all(begin(folder, 5, axes=axes))


# Known points.


def test_known_points_come_first(tmp_path: Path) -> None:
    start = [
        {"a": 1, "b": 0.5, "kind": "plain"},
        {"a": 0.25, "b": 1e-3, "kind": "deep", "depth": 16},
    ]
    found = run_all(begin(tmp_path, 4, start=start))
    assert [proposal.point for proposal in found[:2]] == start
    # With the types of their axes, for 1 and 1.0 are the same model but not the same text.
    assert [type(value) for value in found[0].point.values()] == [float, float, str]
    # Once, however often the search is opened.
    assert run_all(begin(tmp_path, 6, start=start))[:4] == found
    assert len(distinct(run_all(begin(tmp_path, 6, start=start)))) == 6


@pytest.mark.parametrize(
    ("point", "rule"),
    [
        ({"a": 0, "b": 0.5, "kind": "plain", "c": 1}, "start.0.c: there is no such axis"),
        ({"a": 0, "kind": "plain"}, "start.0.b: is missing"),
        ({"a": 2, "b": 0.5, "kind": "plain"}, r"start.0.a: 2 is none of the axis's values \(0 to 1\)"),
        ({"a": 0, "b": 0.5, "kind": "flat"}, r"start.0.kind: 'flat' is none of the axis's values \(plain, deep\)"),
        ({"a": 0, "b": 0.5, "kind": "plain", "depth": 4}, "start.0.depth: is not turned at this point, so leave it"),
        ({"a": 0, "b": 0.5, "kind": "deep"}, "start.0.depth: is missing"),
        ({"a": 0, "b": 0.5, "kind": "deep", "depth": 5}, "start.0.depth: 5 is none"),
        ({"a": True, "b": 0.5, "kind": "plain"}, "start.0.a: True is none"),
    ],
)
def test_known_points_must_be_points(point: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        OptunaSearch(num_points=4, start=(point,)).check(AXES, GOALS)


# Budgets.


def test_a_search_needs_an_end() -> None:
    with pytest.raises(ValueError, match="at least one of num_points, max_compute_hours and max_hours"):
        OptunaSearch()
    with pytest.raises(ValueError, match="start has 2 points, which is more than num_points"):
        RandomSearch(num_points=1, start=({"a": 1}, {"a": 0}))


def test_points_end_a_search(tmp_path: Path) -> None:
    proposer = begin(tmp_path, 2)
    assert len(ask_all(proposer)) == 2
    assert proposer.limit == "2 points were tried"


def test_compute_ends_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr("bdray.study.search.meter.time.monotonic", lambda: clock)

    def opened() -> tuple[Any, Meter]:
        meter = Meter(rate=2, unit="GPU")
        search = OptunaSearch(max_compute_hours=1.0)
        return search.open(AXES, GOALS, home(tmp_path).__class__("bdray", tmp_path, None, meter)), meter

    proposer, meter = opened()
    proposal = proposer.ask()
    assert proposal is not None
    meter.start("a job")
    clock = 1000.0
    # A job counts while it runs, with both its GPUs.
    assert meter.seconds == 2000
    assert proposer.ask() is not None
    meter.stop("a job")
    proposer.close()
    again, meter = opened()
    # Earlier runs count: 2,000 of 3,600 GPU-seconds are gone.
    assert again.ask() is not None
    meter.start("another", rate=2)
    clock = 1700.0
    assert again.ask() is not None
    clock = 1801.0
    assert again.ask() is None
    assert again.limit == "the compute budget of 1 GPU-hours is spent"


def test_time_ends_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1e9
    monkeypatch.setattr("bdray.study.search.driver.time.time", lambda: clock)
    proposer = begin(tmp_path, None, max_hours=0.5)
    assert proposer.ask() is not None
    clock += 1000
    proposer.close()
    clock += 100_000  # nobody works
    again = begin(tmp_path, None, max_hours=0.5)
    assert again.ask() is not None
    clock += 799
    assert again.ask() is not None
    clock += 2
    # The two runs took 1,801 s.
    assert again.ask() is None
    assert again.limit == "the time budget of 0.5 hours is spent"


@pytest.mark.parametrize(("axes", "goals"), [({}, GOALS), (AXES, {})])
def test_optuna_needs_something_to_turn_and_something_to_look_at(axes: dict[str, Axis], goals: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="at least one axis and one metric"):
        OptunaSearch(num_points=1).check(axes, goals)


def test_a_sampler_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bdray.study.search.optuna.find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(ConfigError, match=r"search.sampler: gp needs torch, which is not installed"):
        OptunaSearch(num_points=1, sampler="gp").check(AXES, GOALS)
