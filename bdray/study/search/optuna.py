"""Optuna: points chosen by what earlier points gave."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bdray.exceptions import ConfigError
from bdray.registry import component
from bdray.study.search.base import Proposal, Proposer, Search
from bdray.study.space import Axis

if TYPE_CHECKING:
    import optuna


@component
class OptunaSearch(Search):
    """Multi-objective search with an Optuna sampler; the objectives are the study's metrics.

    The history lives in a journal file in the study's folder, so that a killed search goes on where it was: points that
    were under way are proposed again, and the store finds what they had computed.
    """

    type: Literal["optuna"] = "optuna"
    num_points: int = Field(ge=1)
    """Points to try."""
    sampler: Literal["tpe", "nsga2", "random"] = "tpe"
    """Optuna's sampler."""
    seed: int = Field(default=0, ge=0)
    """Seed of the sampler."""

    def check(self, axes: Mapping[str, Axis], metrics: Mapping[str, str]) -> None:
        if not axes or not metrics:
            raise ConfigError("search: optuna needs at least one axis and one metric as objective.")

    def planned(self, axes: Mapping[str, Axis]) -> int:
        return self.num_points

    def open(self, axes: Mapping[str, Axis], metrics: Mapping[str, str], folder: Path) -> Proposer:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            study_name="bdray",
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(folder / "optuna.journal"))),
            directions=["maximize" if goal == "max" else "minimize" for goal in metrics.values()],
            load_if_exists=True,
        )
        # The same seed would replay the first suggestions after a restart.
        study.sampler = self._sampler(self.seed + len(study.trials))
        return _OptunaProposer(study, axes, list(metrics), self.num_points)

    def _sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        import optuna

        if self.sampler == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        if self.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed)


class _OptunaProposer:
    """Optuna's ask and tell. Points that an earlier run did not finish, killed or failed, are asked for again."""

    def __init__(self, study: "optuna.Study", axes: Mapping[str, Axis], metrics: list[str], num_points: int) -> None:
        import optuna

        self._study, self._axes, self._metrics, self._num_points = study, axes, metrics, num_points
        self._trials: dict[int, optuna.Trial] = {}
        self._state = optuna.trial.TrialState
        retried = {trial.user_attrs.get("retry_of") for trial in study.get_trials(deepcopy=False)}
        for trial in study.get_trials(states=(self._state.RUNNING, self._state.FAIL)):
            if trial.number not in retried:
                study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})
            if trial.state == self._state.RUNNING:  # told last: a kill in between leaves nothing to retry twice
                study.tell(trial.number, state=self._state.FAIL)
        self._replay = study.get_trials(states=(self._state.COMPLETE,))[:num_points]
        self._left = num_points - len(self._replay)

    def ask(self) -> Proposal | None:
        if self._replay:  # finished in an earlier run: the store has the results
            done = self._replay.pop(0)
            return Proposal(done.number, dict(done.params))
        if self._left <= 0:
            return None
        self._left -= 1
        trial = self._study.ask()
        self._trials[trial.number] = trial
        return Proposal(trial.number, {path: _suggest(trial, path, axis) for path, axis in self._axes.items()})

    def tell(self, proposal: Proposal, metrics: Mapping[str, float] | None) -> None:
        trial = self._trials.pop(proposal.number, None)
        if trial is None:
            return
        if metrics is None:
            self._study.tell(trial, state=self._state.FAIL)
        else:
            self._study.tell(trial, [metrics[name] for name in self._metrics])


def _suggest(trial: "optuna.Trial", path: str, axis: Axis) -> Any:
    if axis.choices:
        return trial.suggest_categorical(path, axis.choices)
    assert axis.low is not None and axis.high is not None
    if axis.integer:
        return trial.suggest_int(path, round(axis.low), round(axis.high), log=axis.log)
    return trial.suggest_float(path, axis.low, axis.high, log=axis.log)
