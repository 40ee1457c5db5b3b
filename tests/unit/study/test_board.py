"""The board, played by hand: who may run when, and what the search is told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bdray.pipeline.store import Store
from bdray.study.board import Board
from bdray.study.plan import Job, Result, jobs
from bdray.study.search.base import Proposal
from bdray.study.space import Point
from bdray.study.spec import LoadedStudy, Trial, load

LAMBDA = "defense.in_modal_weight"
Compute = Callable[..., None]


@dataclass
class Script:
    """A search whose points are written down, and that remembers what it was told."""

    points: list[Point]
    asked: int = 0
    told: list[tuple[int, Mapping[str, float] | None]] = field(default_factory=list)

    def ask(self) -> Proposal | None:
        if self.asked == len(self.points):
            return None
        self.asked += 1
        return Proposal(self.asked - 1, self.points[self.asked - 1])

    def tell(self, proposal: Proposal, metrics: Mapping[str, float] | None) -> None:
        self.told.append((proposal.number, metrics))


@dataclass
class Game:
    """A board, and everything that it said."""

    board: Board
    script: Script
    compute: Compute
    results: list[str] = field(default_factory=list)
    """Labels of the jobs that the board reported as finished, in that order; so below."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    trials: list[tuple[str, bool, bool]] = field(default_factory=list)
    """Label, whether there is a result, whether there is a victim."""

    def next(self) -> Job:
        job = self.board.next()
        assert job is not None
        return job

    def finish(self, job: Job, **metrics: float) -> None:
        self.compute(job, **metrics)
        self.board.finish(job.key)

    def play(self) -> list[str]:
        """Run everything, one at a time; the labels in the order of running."""
        order = []
        while job := self.board.next():
            order.append(job.label)
            self.finish(job)
        return order


@pytest.fixture
def game(grid: LoadedStudy, store: Store, compute: Compute) -> Callable[..., Game]:
    """Begins a game with points of λ₂."""

    def begin(*values: float, loaded: LoadedStudy = grid, path: str = LAMBDA) -> Game:
        script = Script([{path: value} for value in values])
        played: Game

        def on_trial(trial: Trial, result: Result | None, victim: Result | None) -> None:
            played.trials.append((trial.label, result is not None, victim is not None))

        board = Board(
            loaded,
            script,
            store,
            on_result=lambda result: played.results.append(result.job.label),
            on_fail=lambda job, reason: played.failures.append((job.label, reason)),
            on_trial=on_trial,
        )
        played = Game(board, script, compute)
        return played

    return begin


def test_inputs_run_first_and_shared_ones_once(game: Callable[..., Game]) -> None:
    played = game(0, 1)
    base = played.next()
    # Two points with two seeds need one base, and nothing can run beside it.
    assert base.label == "base"
    assert played.board.next() is None
    assert not played.board.is_finished
    played.finish(base)
    victims = [played.next(), played.next()]
    # Then the victims, one per seed, in parallel, and nothing before they are done.
    assert {job.label for job in victims} == {"victim seed=0", "victim seed=1"}
    assert played.board.next() is None
    played.finish(victims[0])
    ready = [played.next(), played.next()]
    # A finished victim frees its own trials only; those that are more work go first.
    assert [job.label for job in ready] == [f"λ₂=1 {victims[0].label[7:]}", f"λ₂=0 {victims[0].label[7:]}"]
    assert played.board.next() is None
    for job in (*ready, victims[1]):
        played.finish(job)
    rest = played.play()
    # Each of the 7 distinct jobs was handed out once and reported once.
    assert len(rest) == 2
    assert len(played.results) == len(set(played.results)) == 7
    assert played.board.is_finished


def test_the_search_is_told_once_per_point_the_mean_over_seeds(game: Callable[..., Game]) -> None:
    played = game(1)
    values = {"λ₂=1 seed=0": 0.2, "λ₂=1 seed=1": 0.4}
    while job := played.board.next():
        played.finish(job, attack_success_rate_top1=values.get(job.label, 0.9))
        # Not before all seeds have ended.
        assert bool(played.script.told) == (job.label in values and len(played.results) == 5)
    ((number, metrics),) = played.script.told
    assert number == 0
    assert metrics == pytest.approx({"attack_success_rate_top1": 0.3, "clean_accuracy_top1": 0.75})
    # Each trial is reported with its result and its victim's.
    assert played.trials == [("λ₂=1 seed=0", True, True), ("λ₂=1 seed=1", True, True)]


def test_a_failure_takes_along_what_needs_it(game: Callable[..., Game]) -> None:
    played = game(1)
    played.finish(played.next())
    victims = {job.label: job for job in (played.next(), played.next())}
    played.board.fail(victims["victim seed=0"].key, "the loss is NaN")
    # The reason goes along; the other seed is not concerned.
    assert played.failures == [
        ("victim seed=0", "the loss is NaN"),
        ("λ₂=1 seed=0", "victim seed=0 failed: the loss is NaN"),
    ]
    played.finish(victims["victim seed=1"])
    assert played.play() == ["λ₂=1 seed=1"]
    # The point as a whole failed, for half a mean is none; its finished trial counts nonetheless.
    assert played.script.told == [(0, None)]
    assert played.trials == [("λ₂=1 seed=0", False, False), ("λ₂=1 seed=1", True, True)]
    assert played.board.is_finished


def test_a_failed_base_ends_everything(game: Callable[..., Game]) -> None:
    played = game(0, 1)
    base = played.next()
    assert played.board.next() is None  # all points are on the board now
    played.board.fail(base.key, "out of memory")
    assert played.board.next() is None
    assert played.board.is_finished
    # Base, two victims, four trials: each is reported once, with the first cause.
    assert len(played.failures) == len(dict(played.failures)) == 7
    assert all("out of memory" in reason for _, reason in played.failures)
    assert played.script.told == [(0, None), (1, None)]


def test_points_that_come_later_learn_of_the_failure(game: Callable[..., Game]) -> None:
    played = game(0, 1)
    played.board.max_open = 1
    played.board.fail(played.next().key, "out of memory")
    assert played.board.next() is None
    # The second point was asked for after its base had failed.
    assert played.script.told == [(0, None), (1, None)]
    assert "out of memory" in dict(played.failures)["λ₂=1 seed=1"]


def test_what_the_store_has_is_not_handed_out(game: Callable[..., Game], grid: LoadedStudy, compute: Compute) -> None:
    game(0).play()
    again = game(0, 1)
    # The first point is all there; of the second, base and victims are.
    assert sorted(again.play()) == ["λ₂=1 seed=0", "λ₂=1 seed=1"]
    # All of it is reported all the same, and told to the search.
    assert len(again.results) == 7
    assert [number for number, _ in again.script.told] == [0, 1]
    once_more = game(0, 1)
    assert once_more.board.next() is None
    # When there is nothing to run, that is known without running anything.
    assert once_more.board.is_finished
    assert len(once_more.trials) == 4


def test_a_model_without_its_evaluation_is_not_finished(
    game: Callable[..., Game], grid: LoadedStudy, store: Store
) -> None:
    game(1).play()
    job = jobs(grid.trial({LAMBDA: 1}, 0))[-1]
    assert job.evaluation is not None
    (Path(store.uri) / "evaluate" / job.evaluation.key / "manifest.json").unlink()
    # A worker died between the two: only this job runs again, and its worker finds the model there.
    assert game(1).play() == ["λ₂=1 seed=0"]


def test_a_job_that_left_nothing_has_failed(game: Callable[..., Game]) -> None:
    played = game(1)
    base = played.next()
    played.board.finish(base.key)  # but there is nothing in the store
    assert dict(played.failures)["base"] == "ended without a result in the store"


def test_a_grid_is_asked_at_once_and_a_search_as_it_goes(game: Callable[..., Game]) -> None:
    eager, patient = game(0, 1, 2, 4), game(0, 1, 2, 4)
    patient.board.max_open = 2
    eager.next()
    patient.next()
    assert (eager.board.next(), patient.board.next()) == (None, None)
    # While the base trains, a grid puts all points on the board: the costliest of all goes first later.
    assert eager.script.asked == 4
    # A search has two trials of one point open, and waits for what they give.
    assert patient.script.asked == 1


def test_a_search_never_leaves_a_slot_empty(game: Callable[..., Game]) -> None:
    slots = 2
    played = game(0, 1, 2, 4)
    played.board.max_open = slots
    running: list[Job] = []
    handed: list[str] = []
    while True:
        while len(running) < slots and (job := played.board.next()) is not None:
            running.append(job)
            handed.append(job.label)
        if not running:
            break
        # From the first trial to the last two, both slots work.
        if any(job.stage.name == "defend" for job in running) and len(handed) < 11:
            assert len(running) == slots
        # A point is asked for only after an earlier one is nearly done.
        assert played.script.asked <= len(played.script.told) + 2
        played.finish(running.pop(0))
    assert played.board.is_finished
    assert len(handed) == len(set(handed)) == 1 + 2 + 8


def test_the_same_point_twice_is_run_once(game: Callable[..., Game]) -> None:
    played = game(1, 1)
    order = played.play()
    # A search may propose a point again: it is told again, and nothing is computed again.
    assert len(order) == 5
    assert [number for number, _ in played.script.told] == [0, 1]


def test_a_knob_of_the_victim_gives_victims_of_their_own(game: Callable[..., Game], workplace: Path) -> None:
    path = "attack.num_poisoned"
    loaded = load("some/grid", [f"axes={{{path}: {{values: [4, 8]}}}}"])
    order = game(4, 8, loaded=loaded, path=path).play()
    # One base; a victim for each seed and value.
    assert order.count("base") == 1
    assert sum(label.startswith("victim") for label in order) == 4
    assert len(order) == 1 + 4 + 4


def test_a_defense_in_the_victims_place_needs_no_victim(game: Callable[..., Game], workplace: Path) -> None:
    words = ["defense={type: ssl_pretraining}", "axes={attack.poison_ratio: {values: [0.25]}}", "compare=[]"]
    words += ["attack.num_poisoned=null", "seeds=[0]"]
    played = game(0.25, loaded=load("some/grid", words), path="attack.poison_ratio")
    # It trains on the poisoned data from the base on: no victim is trained, and none is told of.
    assert played.play() == ["base", "poison_ratio=0.25 seed=0"]
    assert played.trials == [("poison_ratio=0.25 seed=0", True, False)]
