"""The epochs of a search's points, kept beside it so that a rule can compare them.

Optuna lets only studies of one objective report epochs. So these are in a second Optuna study in the same storage,
which has one objective always: the metric that the rule goes by. Each of its trials belongs to a point of the search.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bdray.study.search.base import Pruned

if TYPE_CHECKING:
    import optuna

OF = "of"
"""Attribute of a trial: the number of its point."""


class Trajectories:
    """What is known of the epochs of all points, those of earlier runs and of other drivers included."""

    def __init__(self, study: "optuna.Study", metric: str) -> None:
        self._study, self._metric = study, metric
        self._epochs: dict[int, dict[int, dict[str, float]]] = {}
        """Metrics by point and epoch, of the points that this driver runs."""

    def judge(self, number: int, metrics: Mapping[str, Any], *, is_last: bool) -> Pruned | None:
        """Note an epoch of a point; a value if the point is to stop after it."""
        import optuna

        epoch = int(metrics["epoch"])
        epochs = self._epochs.setdefault(number, {})
        epochs[epoch] = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
        value = metrics.get(self._metric)
        if value is None or not math.isfinite(value):  # this phase does not measure it
            return None
        found = self._trial(number)
        if found.state.is_finished() or epoch in found.intermediate_values:
            return None  # judged before an interruption
        trial = optuna.Trial(self._study, found._trial_id)
        trial.report(value, epoch)
        is_hopeless = trial.should_prune()
        return Pruned(tuple(epochs[past] for past in sorted(epochs))) if is_hopeless and not is_last else None

    def end(self, number: int, state: "optuna.trial.TrialState") -> None:
        """Close a point's trajectory, if it has one."""
        import optuna

        self._epochs.pop(number, None)
        found = self._find(number)
        if found is None or found.state.is_finished():
            return
        is_complete = state == optuna.trial.TrialState.COMPLETE
        values = [found.intermediate_values[found.last_step]] if is_complete and found.last_step is not None else None
        if is_complete and values is None:
            state = optuna.trial.TrialState.FAIL
        self._study.tell(found.number, values, state, skip_if_finished=True)

    def _trial(self, number: int) -> "optuna.trial.FrozenTrial":
        """The trajectory of a point; a new one where there is none, or one that failed."""
        import optuna

        found = self._find(number)
        if found is None or found.state == optuna.trial.TrialState.FAIL:
            # With its point's number from the first moment on: a kill leaves no trial that belongs to none.
            running = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs={OF: number})
            self._study.add_trial(running)
            found = self._find(number)
            assert found is not None
        return found

    def _find(self, number: int) -> "optuna.trial.FrozenTrial | None":
        """The latest trajectory of a point."""
        trials = self._study.get_trials(deepcopy=False)
        return next((trial for trial in reversed(trials) if trial.user_attrs.get(OF) == number), None)
