"""The board, played by hand: who may run when, and what the search is told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bdray.pipeline.stages import Defend, Stage
from bdray.pipeline.store import Store
from bdray.study.board import Board
from bdray.study.plan import Job, Result, jobs
from bdray.study.search.base import Proposal, Proposer, Pruned
from bdray.study.space import Point
from bdray.study.spec import LoadedStudy, Trial, load

LAMBDA = "defense.in_modal_weight"
Compute = Callable[..., None]


@dataclass
class Script(Proposer):
    """A search whose points are written down, and that remembers what it was told."""

    points: list[Point]
    asked: int = 0
    told: list[tuple[int, Mapping[str, float] | None]] = field(default_factory=list)
    victims: list[Mapping[str, float] | None] = field(default_factory=list)
    hopeless: set[tuple[int, int]] = field(default_factory=set)
    """Points, by number, and the epochs after which they are stopped."""
    judged: list[tuple[int, int, bool]] = field(default_factory=list)
    """Number, epoch, and whether it was the last one."""
    pruned: list[int] = field(default_factory=list)
    replay: dict[int, Proposal] = field(default_factory=dict)
    """Proposals in place of those of the points."""

    def ask(self) -> Proposal | None:
        if self.asked == len(self.points):
            return None
        self.asked += 1
        return self.replay.get(self.asked - 1, Proposal(self.asked - 1, self.points[self.asked - 1]))

    def tell(
        self, proposal: Proposal, metrics: Mapping[str, float] | None, victim: Mapping[str, float] | None = None
    ) -> None:
        self.told.append((proposal.number, metrics))
        self.victims.append(victim)

    def judge(self, proposal: Proposal, metrics: Mapping[str, Any], *, is_last: bool) -> Pruned | None:
        self.judged.append((proposal.number, int(metrics["epoch"]), is_last))
        if (proposal.number, metrics["epoch"]) not in self.hopeless or is_last:
            return None
        self.prune(proposal, pruned := Pruned((dict(metrics),)))
        return pruned

    def prune(self, proposal: Proposal, pruned: Pruned) -> None:
        self.pruned.append(proposal.number)


@dataclass
class Game:
    """A board, and everything that it said."""

    script: Script
    compute: Compute
    board: Board = field(init=False)
    results: list[str] = field(default_factory=list)
    """Labels of the jobs that the board reported as finished, in that order; so below."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    trials: list[tuple[str, bool, bool]] = field(default_factory=list)
    """Label, whether there is a result, whether there is a victim."""
    stops: list[str] = field(default_factory=list)
    prunes: list[tuple[str, int]] = field(default_factory=list)
    """Label and last epoch."""

    def result(self, result: Result) -> None:
        self.results.append(result.job.label)

    def fail(self, job: Job, reason: str) -> None:
        self.failures.append((job.label, reason))

    def stop(self, job: Job) -> None:
        self.stops.append(job.label)

    def trial(self, trial: Trial, result: Result | None, victim: Result | None) -> None:
        self.trials.append((trial.label, result is not None, victim is not None))

    def prune(self, trial: Trial, pruned: Pruned) -> None:
        self.prunes.append((trial.label, pruned.epoch))

    def epoch(self, job: Job, number: int) -> list[str]:
        """A running job reports; labels of those that are to stop."""
        leaving = self.board.judge(job.key, {"epoch": float(number), "loss": 1.0})
        return [self.board.running[key].label for key in leaving]

    def begin(self) -> None:
        """Let the search be asked for all points while the base runs."""
        base = self.next()
        assert self.board.next() is None
        self.finish(base)

    def until(self, *labels: str) -> dict[str, Job]:
        """Run jobs until these, which are handed out last and together, run; they are."""
        running: dict[str, Job] = {}
        while running.keys() < set(labels):
            job = self.next()
            if job.label in labels:
                running[job.label] = job
            else:
                self.finish(job)
        return running

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
        played = Game(Script([{path: value} for value in values]), compute)
        played.board = Board(loaded, played.script, store, played)
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
    # Each trial is reported with its result and its victim's, and the search gets the victims' mean, too.
    assert played.trials == [("λ₂=1 seed=0", True, True), ("λ₂=1 seed=1", True, True)]
    assert played.script.victims == [pytest.approx({"attack_success_rate_top1": 0.9, "clean_accuracy_top1": 0.75})]


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
    words = ["defense={type: ssl_pretraining}", "compare=[]"]
    words += ["axes={attack.poison_ratio: {values: [0.25]}, defense.in_modal_weight: {values: [1]}}"]
    words += ["attack.num_poisoned=null", "seeds=[0]"]
    played = game(0.25, loaded=load("some/grid", words), path="attack.poison_ratio")
    # It trains on the poisoned data from the base on: no victim is trained, and none is told of.
    assert played.play() == ["base", "poison_ratio=0.25 seed=0"]
    assert played.trials == [("poison_ratio=0.25 seed=0", True, False)]
    assert played.script.victims == [None]


# Early stopping.


def test_a_point_is_judged_by_its_first_seed(game: Callable[..., Game]) -> None:
    played = game(1)
    first, second = played.until("λ₂=1 seed=0", "λ₂=1 seed=1").values()
    assert played.epoch(first, 1) == played.epoch(second, 1) == played.epoch(first, 3) == []
    # Neither the base, nor victims, nor another seed; and the last epoch as such, for then there is nothing to save.
    assert played.script.judged == [(0, 1, False), (0, 3, True)]


def test_a_hopeless_point_takes_all_its_seeds_along(game: Callable[..., Game]) -> None:
    played = game(1, 2)
    played.script.hopeless = {(0, 2)}
    first, second = played.until("λ₂=1 seed=0", "λ₂=1 seed=1").values()
    assert played.epoch(first, 1) == []
    # Both run, so both are told; it is known at once what became of the point.
    assert sorted(played.epoch(first, 2)) == ["λ₂=1 seed=0", "λ₂=1 seed=1"]
    assert played.prunes == [("λ₂=1 seed=0", 2)]
    assert played.script.pruned == [0]
    assert played.stops == []
    played.board.finish(second.key)
    played.board.finish(first.key)
    # They left without a result, which is no failure, and the other point goes on.
    assert sorted(played.stops) == ["λ₂=1 seed=0", "λ₂=1 seed=1"]
    assert played.failures == []
    assert sorted(played.play()) == ["λ₂=2 seed=0", "λ₂=2 seed=1"]
    assert played.board.is_finished
    # A pruned point is not told.
    assert [number for number, _ in played.script.told] == [1]


def test_what_waits_for_a_hopeless_point_is_dropped(game: Callable[..., Game]) -> None:
    played = game(1)
    played.script.hopeless = {(0, 1)}
    played.begin()
    victims = {job.label: job for job in (played.next(), played.next())}
    played.finish(victims["victim seed=0"])
    first = played.next()
    # The other seed is not begun, and its victim, which nobody needs now, stops, too.
    assert set(played.epoch(first, 1)) == {"victim seed=1", "λ₂=1 seed=0"}
    assert not played.board.waiting
    played.board.finish(victims["victim seed=1"].key)
    played.board.finish(first.key)
    assert played.board.next() is None
    assert played.board.is_finished
    assert played.failures == []


def test_what_other_points_need_is_not_stopped(game: Callable[..., Game], workplace: Path) -> None:
    path = "defense"
    variants = "{none: {defense: null}, CleanCLIP: {defense: {type: cleanclip}}}"
    loaded = load("some/grid", [f"axes={{{path}: {{variants: {variants}}}}}", "seeds=[0]", "compare=[]"])
    played = game("none", "CleanCLIP", loaded=loaded, path=path)
    played.script.hopeless = {(0, 1)}
    played.begin()
    # The undefended point is the victim of the other one, so that it must be trained whatever its epochs look like.
    assert played.epoch(played.next(), 1) == []
    assert played.script.judged == []


def test_a_stopped_job_goes_on_for_a_point_that_came_later(game: Callable[..., Game], workplace: Path) -> None:
    path = "defense"
    variants = "{none: {defense: null}, CleanCLIP: {defense: {type: cleanclip}}}"
    words = [f"axes={{{path}: {{variants: {variants}}}}}", "seeds=[0]", "compare=[]", "victim.recipe.epochs=3"]
    loaded = load("some/grid", words)
    played = game("none", "CleanCLIP", loaded=loaded, path=path)
    played.script.hopeless = {(0, 1)}
    played.board.max_open = 1
    played.finish(played.next())
    victim = played.next()
    assert played.epoch(victim, 1) == [victim.label]
    # Now the second point comes up, while its victim, which was told to stop, is about to leave.
    assert played.board.next() is None
    played.board.finish(victim.key)
    assert played.stops == []
    assert [played.next().key] == [victim.key]


def test_the_same_point_again_is_pruned_at_once(game: Callable[..., Game]) -> None:
    played = game(1, 1, 2)
    played.script.hopeless = {(0, 1)}
    played.board.max_open = 1
    first = played.until("λ₂=1 seed=0")["λ₂=1 seed=0"]
    for job in [first, *[played.board.running[key] for key in played.board.judge(first.key, {"epoch": 1.0})]]:
        if job.key in played.board.running:
            played.board.finish(job.key)
    order = played.play()
    # As a search may ask for that has few values: it is told the same, and nothing runs.
    assert played.script.pruned == [0, 1]
    assert not any(label.startswith("λ₂=1 ") for label in order)
    assert [number for number, _ in played.script.told] == [2]


def test_twins_are_pruned_together(game: Callable[..., Game]) -> None:
    played = game(1, 1)
    played.script.hopeless = {(0, 1)}
    played.begin()
    played.epoch(played.until("λ₂=1 seed=0")["λ₂=1 seed=0"], 1)
    # Both points wait for one job.
    assert played.script.pruned == [0, 1]
    assert played.prunes == [("λ₂=1 seed=0", 1)] * 2


def test_what_an_earlier_run_pruned_is_shown_and_not_run(game: Callable[..., Game]) -> None:
    played = game(1, 2)
    played.script.replay = {0: Proposal(0, {LAMBDA: 1}, Pruned(({"epoch": 2.0},)))}
    assert not any(label.startswith("λ₂=1 ") for label in played.play())
    assert played.prunes == [("λ₂=1 seed=0", 2)]
    # The search knows already.
    assert played.script.pruned == []
    assert [number for number, _ in played.script.told] == [1]


def test_a_result_that_came_before_the_word_counts(game: Callable[..., Game]) -> None:
    played = game(1)
    played.script.hopeless = {(0, 2)}
    first, second = played.until("λ₂=1 seed=0", "λ₂=1 seed=1").values()
    played.epoch(first, 2)
    played.finish(second)
    played.board.fail(first.key, "it died on its way out")
    # A job that was told to stop may have finished, or died: neither is a failure of the study.
    assert played.failures == []
    assert played.results[-1] == second.label
    assert played.stops == [first.label]


def test_points_of_other_drivers_are_shown_where_the_store_has_them(game: Callable[..., Game]) -> None:
    game(1).play()
    played = game(1, 2)
    played.script.replay = {n: Proposal(n, {LAMBDA: n + 1}, is_elsewhere=True) for n in (0, 1)}
    # Of the second there is nothing here, and to compute it is another driver's business.
    assert played.play() == []
    assert [number for number, _ in played.script.told] == [0]


def test_a_search_sees_the_epochs_of_results_from_the_store(game: Callable[..., Game]) -> None:
    game(1).play()
    played = game(1)
    played.play()
    # So that later points are compared with them.
    assert played.script.judged == [(0, 1, True), (0, 2, True), (0, 3, True)]


# Thousands of trials.


def test_what_a_job_needs_is_worked_out_once(game: Callable[..., Game], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    inputs = vars(Defend)["inputs"]

    def counted(stage: Defend) -> tuple[Stage, ...]:
        nonlocal asked
        asked += 1
        return tuple(inputs.fget(stage))

    monkeypatch.setattr(Defend, "inputs", property(counted))
    counts = []
    for size in (4, 8, 12):
        asked = 0
        game(*range(1, size + 1)).play()
        counts.append(asked)
    # As many times for each trial, however many wait beside it.
    assert counts[2] - counts[1] == counts[1] - counts[0] > 0


def test_results_that_no_point_needs_are_forgotten(game: Callable[..., Game]) -> None:
    played = game(1, 2)
    played.play()
    board = played.board
    # What is told is in the store: the board keeps its key, and nothing of what it measured.
    assert len(board.finished) == 7
    assert not board._results
    assert not board._points
    assert not board._by_key


def test_a_forgotten_result_is_read_again_where_a_point_needs_it(game: Callable[..., Game]) -> None:
    played = game(1, 1)
    played.board.max_open = 1
    assert len(played.play()) == 5
    (first, metrics), (second, again) = played.script.told
    # The search asked for the same point after it had been told of it: it is told the same, and nothing ran.
    assert (first, second) == (0, 1)
    assert metrics == again
    assert metrics is not None
    assert played.trials[:2] == played.trials[2:] == [("λ₂=1 seed=0", True, True), ("λ₂=1 seed=1", True, True)]
