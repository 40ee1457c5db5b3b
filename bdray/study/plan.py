"""The jobs of a study: what has to be computed, in which order, and what it will cost."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from bdray.data.base import Split
from bdray.exceptions import ConfigError
from bdray.pipeline.stages import Defend, EpochStage, Evaluate, PoisonVictim, Stage, evaluate_base, victim_of
from bdray.pipeline.store import Manifest, Store
from bdray.report.study import DETECTION
from bdray.study.runtime import Launch
from bdray.study.search.base import Proposal
from bdray.study.space import Point
from bdray.study.spec import LoadedStudy, Trial


@dataclass(frozen=True)
class Job:
    """What one slot computes in one go: a model and its evaluation, or a learned trigger."""

    stage: EpochStage
    label: str
    """Name for people."""
    split: Split
    """What the model is evaluated on."""
    point: Point = field(default_factory=dict, compare=False)
    """The study's knobs that its model depends on, as the first trial that needs it has them."""

    @property
    def key(self) -> str:
        """The stage's key in the store."""
        return self.stage.key

    @cached_property
    def evaluation(self) -> Evaluate | None:
        """The evaluation that belongs to the model; a clean base has none, for it has no attack."""
        if isinstance(self.stage, PoisonVictim | Defend):
            return Evaluate(self.stage.experiment, self.stage, self.split)
        return None

    @cached_property
    def base_evaluation(self) -> Evaluate | None:
        """What the trigger does before any poisoning: shared by all jobs of one trigger, and no part of the result."""
        return evaluate_base(self.stage.experiment, self.split) if self.evaluation else None

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """Keys of the models and triggers that must be there first."""
        return tuple(stage.key for stage in self.stage.inputs)

    def num_workers(self, launch: Launch, store: Store) -> int:
        """How many it has use for: one where no batches are left to share, as for an evaluation alone."""
        if launch.num_workers == 1 or self.stage.batch_size is None:
            return 1
        return launch.num_workers if store.find(self.stage.name, self.key) is None else 1

    @property
    def epochs(self) -> int:
        """Epochs to train."""
        return self.stage.epochs

    @property
    def images(self) -> int:
        """Images that pass a model forward and backward: a rough measure of its cost."""
        return self.stage.images

    def find(self, store: Store) -> "Result | None":
        """The finished result, or None if any part of it is missing."""
        model = store.find(self.stage.name, self.key)
        if model is None or self.evaluation is None:
            return Result(self, model, {}) if model else None
        found = store.find(self.evaluation.name, self.evaluation.key)
        if found is None:
            return None
        own = {name: value for name, value in model["metrics"].items() if name.startswith(DETECTION)}
        base = store.find(self.base_evaluation.name, self.base_evaluation.key) if self.base_evaluation else None
        return Result(
            self,
            model,
            metrics={**found["metrics"], **own},
            counts=found.get("counts", {}),
            base=base["metrics"] if base else {},
        )


@dataclass(frozen=True)
class Result:
    """A finished job as the store remembers it."""

    job: Job
    model: Manifest
    metrics: dict[str, float]
    """Measured by the evaluation, and by the defense of itself; empty for a clean base or a trigger."""
    counts: dict[str, int] = field(default_factory=dict)
    """Images that the evaluation's rates are shares of; empty in results of older versions."""
    base: dict[str, float] = field(default_factory=dict)
    """The same metrics of the clean base under the same trigger; empty if there is none, or none was measured."""


@dataclass(frozen=True)
class Plan:
    """All jobs of the points of a study, distinct, inputs before what needs them."""

    jobs: tuple[Job, ...]
    finished: frozenset[str]
    """Keys of the jobs that the store has already."""

    @property
    def missing(self) -> tuple[Job, ...]:
        """Jobs that have to be computed."""
        return tuple(job for job in self.jobs if job.key not in self.finished)


def trials(loaded: LoadedStudy, proposal: Proposal) -> list[Trial]:
    """The trials of one point: one for each seed."""
    return [replace(loaded.trial(proposal.point, seed), number=proposal.number) for seed in loaded.study.seeds]


def jobs(trial: Trial) -> list[Job]:
    """The jobs that lead to a trial's result, inputs first."""
    experiment = trial.experiment
    target: Stage = victim_of(experiment) if experiment.defense is None else Defend(experiment)
    names = {
        "pretrain": "base",
        "trigger": f"{experiment.attack.trigger.type} trigger",
        "victim": trial.victim_label,
        target.name: trial.label,
    }
    points = {"victim": trial.victim_point, target.name: trial.point}
    stages = {stage.key: stage for stage in (*target.upstream(), target) if isinstance(stage, EpochStage)}
    return [Job(stage, names[stage.name], trial.split, points.get(stage.name, {})) for stage in stages.values()]


def plan(loaded: LoadedStudy, proposals: Iterable[Proposal], store: Store) -> Plan:
    """Expand points into distinct jobs and look up which are finished.

    Raises:
        ConfigError: If a point does not make a valid experiment, or its parts do not fit each other.
        CheckpointError: If a file of first weights cannot be used.
    """
    found: dict[str, Job] = {}
    for proposal in proposals:
        for trial in trials(loaded, proposal):
            trial.experiment.check(loaded.runtime.cache)
            loaded.runtime.training.check(trial.experiment.model)
            for job in jobs(trial):
                _check_shares(job, loaded.runtime.training.num_workers)
                found.setdefault(job.key, job)
    finished = frozenset(key for key, job in found.items() if job.find(store) is not None)
    return Plan(tuple(found.values()), finished)


def _check_shares(job: Job, num_workers: int) -> None:
    batch = job.stage.batch_size
    if batch is not None and batch % num_workers:
        part = {"defend": "defense"}.get(job.stage.name, job.stage.name)
        raise ConfigError(
            f"{part}.recipe.batch_size: {batch} samples have no equal shares for {num_workers} workers. "
            "Make it a multiple of training.num_workers."
        )
