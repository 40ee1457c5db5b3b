"""What all searches have in common that choose their points one by one."""

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from bdray import config
from bdray.exceptions import ConfigError
from bdray.registry import component
from bdray.report import study as study_file
from bdray.report.study import Constraint
from bdray.study.search.base import Home, Proposer, Search
from bdray.study.space import Axis, Scalar, is_turned, show, turning_order
from bdray.study.stopping.base import Stopping

if TYPE_CHECKING:
    import optuna

    from bdray.study.search.driver import Driver

BUDGETS = ("num_points", "max_compute_hours", "max_hours")
STOPPING = "-stopping"
"""Ends the name of the Optuna study that keeps the epochs of another one's points."""


@component
class SampledSearch(Search):
    """Points are drawn one by one, within budgets, until the first of them is spent.

    The history lives in Optuna's storage: a journal in the study's folder, or a database that several drivers share. A
    killed search goes on where it was: points that were under way are proposed again, and the store finds what they had
    computed. The objectives are the study's metrics.
    """

    num_points: int | None = Field(default=None, ge=1)
    """Points to try, those that are stopped early included."""
    max_compute_hours: float | None = Field(default=None, gt=0)
    """GPU-hours to spend, or slot-hours where no GPUs are used: time for which each of the slots is taken, by whatever
    jobs, earlier runs and other drivers included. Points that are under way then are finished."""
    max_hours: float | None = Field(default=None, gt=0)
    """Hours for which the search may run, earlier runs included. Points that are under way then are finished."""
    seed: int = Field(default=0, ge=0)
    """Seed of the choices."""
    start: tuple[dict[str, Scalar], ...] = ()
    """Points to try first, such as the paper's; each has a value for every axis that is turned there."""
    constraints: tuple[Constraint, ...] = ()
    """What points must keep to be of use. The sampler avoids where they do not."""
    stopping: Stopping | None = None
    """When points are stopped before their last epoch; None: never."""

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if (self.num_points, self.max_compute_hours, self.max_hours) == (None, None, None):
            raise ValueError("give at least one of num_points, max_compute_hours and max_hours")
        if self.num_points is not None and len(self.start) > self.num_points:
            raise ValueError(f"start has {len(self.start)} points, which is more than num_points")
        return self

    @abstractmethod
    def make_sampler(self, seed: int, run: int) -> "optuna.samplers.BaseSampler":
        """Optuna's sampler.

        Args:
            seed: The search's own.
            run: How many drivers worked on the search before this one; the same seed would replay what they were told.
        """

    @property
    @abstractmethod
    def method(self) -> str:
        """What chooses, for people: ``optuna, tpe``."""

    def check(self, axes: Mapping[str, Axis], metrics: Mapping[str, str]) -> None:
        if not axes or not metrics:
            raise ConfigError(f"search: {self.type} needs at least one axis and one metric as objective.")
        for index, point in enumerate(self.start):
            _check_start(point, axes, f"search.start.{index}")
        if self.stopping is not None:
            known = metrics.get(self.stopping.metric)
            if known is None and self.stopping.goal is None:
                raise ConfigError(
                    f"search.stopping.metric: {self.stopping.metric} is none of the study's metrics. Give goal, min or "
                    f"max. {config.did_you_mean(self.stopping.metric, metrics)}"
                )
            if known is not None and self.stopping.goal not in (None, known):
                raise ConfigError(
                    f"search.stopping.goal: {self.stopping.goal} contradicts the study's metrics, where "
                    f"{self.stopping.metric} has goal {known}. Leave it out."
                )

    def planned(self, axes: Mapping[str, Axis]) -> int | None:
        return self.num_points

    def open(self, axes: Mapping[str, Axis], metrics: Mapping[str, str], home: Home) -> Proposer:
        from bdray.study.search.storage import open_storage, storage_errors

        with storage_errors(home.storage):
            return self._open(axes, metrics, home, open_storage(home.storage, home.folder))

    def _open(
        self,
        axes: Mapping[str, Axis],
        metrics: Mapping[str, str],
        home: Home,
        storage: "optuna.storages.BaseStorage",
    ) -> Proposer:
        import optuna

        from bdray.study.search.driver import Driver
        from bdray.study.search.history import History
        from bdray.study.search.proposer import OptunaProposer
        from bdray.study.search.trajectories import Trajectories

        study = optuna.create_study(
            study_name=home.name,
            storage=storage,
            directions=[_direction(goal) for goal in metrics.values()],
            load_if_exists=True,
        )
        driver = Driver(study, home.meter)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = self.make_sampler(self.seed, driver.index)
        history = History(study, driver, self.num_points, is_shared=home.storage is not None)
        history.take_over()
        history.queue_start([_typed(point, axes) for point in self.start])
        trajectories = None
        if self.stopping is not None:
            goal = self.stopping.goal or metrics[self.stopping.metric]
            beside = optuna.create_study(
                study_name=home.name + STOPPING,
                storage=storage,
                direction=_direction(goal),
                sampler=optuna.samplers.RandomSampler(),
                pruner=self.stopping.pruner(),
                load_if_exists=True,
            )
            trajectories = Trajectories(beside, self.stopping.metric)
        return OptunaProposer(
            history,
            driver,
            axes=axes,
            metrics=metrics,
            constraints=self.constraints,
            spent=lambda driver: self._spent(driver, home.meter.unit),
            trajectories=trajectories,
            num_points=self.num_points,
            uri=home.storage,
        )

    @property
    def described(self) -> study_file.Search | None:
        stopping = f"{self.stopping.metric}: {self.stopping.rule}" if self.stopping else ""
        return study_file.Search(
            type=self.method, num_points=self.num_points, constraints=list(self.constraints), stopping=stopping
        )

    @property
    def watched(self) -> str | None:
        return self.stopping.metric if self.stopping else None

    def ends(self, unit: str) -> dict[str, str]:
        """What ends the search, in words, by the field that sets it; whichever comes first.

        Args:
            unit: What compute is counted in, ``slot`` or ``GPU``.
        """
        words = {
            "num_points": f"{self.num_points} points were tried",
            "max_compute_hours": f"the compute budget of {self.max_compute_hours or 0:g} {unit}-hours is spent",
            "max_hours": f"the time budget of {self.max_hours or 0:g} hours is spent",
        }
        return {name: text for name, text in words.items() if getattr(self, name) is not None}

    def _spent(self, driver: "Driver", unit: str) -> str:
        """Which budget of time is spent, in words; empty if there is time left."""
        ends = self.ends(unit)
        if self.max_compute_hours is not None and driver.compute_seconds >= 3600 * self.max_compute_hours:
            return ends["max_compute_hours"]
        if self.max_hours is not None and driver.wall_seconds >= 3600 * self.max_hours:
            return ends["max_hours"]
        return ""


def _check_start(point: Mapping[str, Any], axes: Mapping[str, Axis], where: str) -> None:
    for path in point:
        if path not in axes:
            raise ConfigError(f"{where}.{path}: there is no such axis. {config.did_you_mean(path, axes)}")
    for path in turning_order(axes):
        if is_turned(axes[path], point) != (path in point):
            what = "is missing" if path not in point else "is not turned at this point, so leave it out"
            raise ConfigError(f"{where}.{path}: {what}.")
        if path in point and not axes[path].allows(point[path]):
            axis = axes[path]
            known = ", ".join(map(show, axis.choices)) or f"{show(axis.low)} to {show(axis.high)}"
            raise ConfigError(f"{where}.{path}: {point[path]!r} is none of the axis's values ({known}).")


def _typed(point: Mapping[str, Any], axes: Mapping[str, Axis]) -> dict[str, Any]:
    """The point with the types that Optuna gives: YAML's 1 may be the 1.0 of a range."""
    return {
        path: axis.choices[axis.choices.index(point[path])]
        if axis.choices
        else (round(point[path]) if axis.integer else float(point[path]))
        for path, axis in axes.items()
        if path in point
    }


def _direction(goal: str) -> Literal["maximize", "minimize"]:
    return "maximize" if goal == "max" else "minimize"
