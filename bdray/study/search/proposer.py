"""A search with Optuna in progress."""

import functools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

from bdray.exceptions import SearchError
from bdray.report.study import Constraint
from bdray.study.search.base import Proposal, Proposer, Pruned
from bdray.study.search.driver import Driver
from bdray.study.search.history import PRUNED, History, point_of, root
from bdray.study.search.storage import storage_errors
from bdray.study.search.trajectories import Trajectories
from bdray.study.space import Axis, Point

if TYPE_CHECKING:
    import optuna


_log = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])


def _guarded(method: F) -> F:
    """Let a method raise SearchError where the storage fails."""

    @functools.wraps(method)
    def guarded(self: "OptunaProposer", *args: Any, **kwargs: Any) -> Any:
        with storage_errors(self.uri):
            return method(self, *args, **kwargs)

    return cast("F", guarded)


class OptunaProposer(Proposer):
    """Optuna's ask and tell. What earlier runs and other drivers finished is proposed too, and not told again."""

    def __init__(
        self,
        history: History,
        driver: Driver,
        *,
        axes: Mapping[str, Axis],
        metrics: Mapping[str, str],
        constraints: Sequence[Constraint],
        spent: Callable[[Driver], str],
        trajectories: Trajectories | None,
        num_points: int | None,
        uri: str | None,
    ) -> None:
        import optuna

        self._history, self._driver, self._axes, self._metrics = history, driver, axes, metrics
        self._constraints, self._spent, self._trajectories = constraints, spent, trajectories
        self._num_points, self.uri = num_points, uri
        self._state = optuna.trial.TrialState
        self._open: dict[int, optuna.Trial] = {}
        """Trials of this driver by the number of their point."""
        self._seen: set[int] = set()
        """First trials of the points that were proposed."""

    @_guarded
    def ask(self) -> Proposal | None:
        self._driver.beat()
        for trial in self._history.finished():
            if root(trial) not in self._seen and len(self._seen) < (self._num_points or math.inf):
                return self._again(trial)
        self.limit = self._spent(self._driver)
        if self.limit:
            return None
        while not self._history.is_full():
            if (taken := self._history.ask(self._axes)) is not None:
                return self._new(*taken)
        self.limit = f"{self._num_points} points were tried"
        return None

    @_guarded
    def tell(
        self, proposal: Proposal, metrics: Mapping[str, float] | None, victim: Mapping[str, float] | None = None
    ) -> None:
        self._driver.beat()
        trial = self._open.pop(proposal.number, None)
        if trial is None:
            return
        if metrics is None or (missing := self._missing(metrics, victim or {})):
            if metrics is not None:
                _log.warning("the search learns nothing from %s: it has no %s", dict(proposal.point), missing)
            self._close(trial, self._state.FAIL)
            return
        if self._is_ours(trial):
            for name, value in _violations(self._constraints, self._metrics, metrics, victim or {}).items():
                trial.set_constraint(name, value)
        self._close(trial, self._state.COMPLETE, [metrics[name] for name in self._metrics])

    @_guarded
    def judge(self, proposal: Proposal, metrics: Mapping[str, Any], *, is_last: bool) -> Pruned | None:
        if self._trajectories is None or proposal.number not in self._open:
            return None
        self._driver.beat()
        first = root(self._frozen(self._open[proposal.number]))
        pruned = self._trajectories.judge(first, metrics, is_last=is_last)
        if pruned is not None:
            self.prune(proposal, pruned)
        return pruned

    @_guarded
    def prune(self, proposal: Proposal, pruned: Pruned) -> None:
        trial = self._open.pop(proposal.number, None)
        if trial is None:
            return
        if self._is_ours(trial):
            trial.set_user_attr(PRUNED, list(pruned.history))  # first: from here on a restart knows what was decided
        self._close(trial, self._state.PRUNED)

    def close(self) -> None:
        with suppress(SearchError), storage_errors(self.uri):  # without a word, it is taken for dead after a while
            self._driver.close()

    def _new(self, trial: "optuna.Trial", point: Point) -> Proposal:
        number = self._number(self._frozen(trial))
        self._open[number] = trial
        return Proposal(number, point)

    def _again(self, trial: "optuna.trial.FrozenTrial") -> Proposal:
        epochs = trial.user_attrs.get(PRUNED)
        return Proposal(
            self._number(trial),
            point_of(trial, self._axes),
            pruned=Pruned(tuple(epochs)) if epochs else None,
            is_elsewhere=self.uri is not None,
        )

    def _number(self, trial: "optuna.trial.FrozenTrial") -> int:
        self._seen.add(root(trial))
        return self._history.numbers()[root(trial)]

    def _close(
        self, trial: "optuna.Trial", state: "optuna.trial.TrialState", values: Sequence[float] | None = None
    ) -> None:
        if self._trajectories is not None:
            self._trajectories.end(root(self._frozen(trial)), state)
        self._history.study.tell(trial, values, state, skip_if_finished=True)

    def _is_ours(self, trial: "optuna.Trial") -> bool:
        """Whether nobody took us for dead and the point for theirs."""
        return not self._frozen(trial).state.is_finished()

    def _frozen(self, trial: "optuna.Trial") -> "optuna.trial.FrozenTrial":
        return self._history.study.get_trials(deepcopy=False)[trial.number]

    def _missing(self, metrics: Mapping[str, float], victim: Mapping[str, float]) -> str:
        """What a point lacks that the search goes by: a rate of nothing, say, is no number. Empty if it has all."""
        names = (*self._metrics, *(constraint.metric for constraint in self._constraints))
        compared = [constraint.metric for constraint in self._constraints if constraint.max_loss is not None]
        lacks = [name for name in names if not math.isfinite(metrics.get(name, math.nan))]
        return ", ".join([*lacks, *(f"victim's {name}" for name in compared if name not in victim)])


def _violations(
    constraints: Sequence[Constraint],
    goals: Mapping[str, str],
    metrics: Mapping[str, float],
    victim: Mapping[str, float],
) -> dict[str, float]:
    """By how much each constraint is violated, by its name; at most 0 where it is kept."""
    found = {}
    for constraint in constraints:
        name, value = constraint.metric, metrics[constraint.metric]
        if constraint.at_least is not None:
            found[f"{name} at_least {constraint.at_least:g}"] = constraint.at_least - value
        if constraint.at_most is not None:
            found[f"{name} at_most {constraint.at_most:g}"] = value - constraint.at_most
        if constraint.max_loss is not None:
            loss = victim[name] - value if goals[name] == "max" else value - victim[name]
            found[f"{name} max_loss {constraint.max_loss:g}"] = loss - constraint.max_loss
    return found
