"""The points of a search in Optuna's storage: who takes which, what is left of a killed run, how many there are."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bdray.study.search.driver import Driver
from bdray.study.space import Axis, Point, is_turned, turning_order

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

RETRY, ROOT, START, SURPLUS, OWNER, PRUNED = "retry_of", "root", "start", "surplus", "driver", "pruned"
"""Attributes of an Optuna trial: the trial that it repeats, the first of those repeated, its place among the points to
start from, whether it was one too many, who works on it, and the epochs after which it was stopped."""
SETTLE_SECONDS = 2.0
"""How long a driver that is alive may take between creating a trial and signing it."""


class History:
    """Optuna's trials as points. A point may take several trials: one for each run that could not finish it."""

    def __init__(self, study: "optuna.Study", driver: Driver, num_points: int | None, *, is_shared: bool) -> None:
        import optuna

        self.study, self._driver, self._num_points = study, driver, num_points
        self._state = optuna.trial.TrialState
        self._is_shared = is_shared

    def take_over(self) -> None:
        """Queue the points again that nobody works on any more and that did not finish, killed or failed."""
        running = self._trials(self._state.RUNNING)
        if self._is_shared and any(OWNER not in trial.user_attrs for trial in running):
            time.sleep(SETTLE_SECONDS)
            running = self._trials(self._state.RUNNING)
        for trial in running:
            if not self._driver.is_alive(trial.user_attrs.get(OWNER)):
                state = self._state.PRUNED if PRUNED in trial.user_attrs else self._state.FAIL
                self.study.tell(trial.number, state=state, skip_if_finished=True)
        replaced = {trial.user_attrs.get(RETRY) for trial in self._trials()}
        for trial in self._trials(self._state.FAIL):
            if trial.number not in replaced and SURPLUS not in trial.user_attrs:
                params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
                self.study.enqueue_trial(params, {RETRY: trial.number, ROOT: root(trial)})

    def queue_start(self, points: Sequence[Point]) -> None:
        """Queue the points to start from that are not in the history yet."""
        known = {trial.user_attrs.get(START) for trial in self._trials()}
        for index, point in enumerate(points):
            if index not in known:
                self.study.enqueue_trial(dict(point), {START: index})

    def finished(self) -> "list[FrozenTrial]":
        """Trials that are complete or were stopped early, in order."""
        return self._trials(self._state.COMPLETE, self._state.PRUNED)

    def numbers(self) -> dict[int, int]:
        """Numbers of the points, counted up from 0, by those of the trials that were the first to try them."""
        firsts = [trial.number for trial in self._trials() if not {RETRY, SURPLUS} & trial.user_attrs.keys()]
        return {first: number for number, first in enumerate(firsts)}

    def is_full(self) -> bool:
        """Whether there are as many points as there should be, also those that others work on."""
        waiting = self._trials(self._state.WAITING)
        return self._num_points is not None and not waiting and len(self._points()) >= self._num_points

    def ask(self, axes: Mapping[str, Axis]) -> "tuple[optuna.Trial, Point] | None":
        """Take a point that waits, or have a new one suggested; None if another driver just took the last."""
        trial = self.study.ask()
        trial.set_user_attr(OWNER, self._driver.id)
        if self._is_one_too_many(trial.number):
            trial.set_user_attr(SURPLUS, True)
            self.study.tell(trial, state=self._state.FAIL)
            return None
        found: dict[str, Any] = {}
        for path in turning_order(axes):
            if is_turned(axes[path], found):
                found[path] = _suggest(trial, path, axes[path])
        return trial, {path: found[path] for path in axes if path in found}

    def _is_one_too_many(self, number: int) -> bool:
        """Whether drivers that asked at the same moment took one point twice, or more than there should be.

        The trials' numbers tell each of them the same about who was first.
        """
        trials = {trial.number: trial for trial in self._trials()}
        earlier = [other for other in trials.values() if other.number < number and SURPLUS not in other.user_attrs]
        for name in (RETRY, START):
            mine = trials[number].user_attrs.get(name)
            if mine is not None and any(other.user_attrs.get(name) == mine for other in earlier):
                return True
        rank = sum(point <= number for point in self._points())
        return self._num_points is not None and rank > self._num_points

    def _points(self) -> list[int]:
        """Numbers of the trials that stand for a point each: neither repeated later nor one too many."""
        trials = [trial for trial in self._trials() if SURPLUS not in trial.user_attrs]
        repeated = {trial.user_attrs.get(RETRY) for trial in trials}
        return [trial.number for trial in trials if trial.number not in repeated]

    def _trials(self, *states: "optuna.trial.TrialState") -> "list[FrozenTrial]":
        return self.study.get_trials(deepcopy=False, states=states or None)


def root(trial: "FrozenTrial") -> int:
    """Number of the first trial of a point, by which it is known in the history."""
    return int(trial.user_attrs.get(ROOT, trial.number))


def point_of(trial: "FrozenTrial", axes: Mapping[str, Axis]) -> Point:
    """The point that a trial tried."""
    return {path: trial.params[path] for path in axes if path in trial.params}


def _suggest(trial: "optuna.Trial", path: str, axis: Axis) -> Any:
    if axis.choices:
        return trial.suggest_categorical(path, axis.choices)
    assert axis.low is not None and axis.high is not None
    if axis.integer:
        step = 1 if axis.step is None else round(axis.step)
        return trial.suggest_int(path, round(axis.low), round(axis.high), log=axis.log, step=step)
    return trial.suggest_float(path, axis.low, axis.high, log=axis.log, step=axis.step)
