"""The jobs of a study: what has to be computed, in which order, and what it will cost."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from bdray.exceptions import ConfigError
from bdray.pipeline.stages import Defend, Evaluate, Pretrain, TrainingStage
from bdray.pipeline.store import Manifest, Store
from bdray.study.search.base import Proposal
from bdray.study.spec import LoadedStudy, Trial
from bdray.training.optim import Recipe


@dataclass(frozen=True)
class Job:
    """What one slot computes in one go: a model, and its evaluation on the test split."""

    stage: TrainingStage
    label: str
    """Name for people."""

    @property
    def key(self) -> str:
        """The model's key in the store."""
        return self.stage.key

    @cached_property
    def evaluation(self) -> Evaluate | None:
        """The evaluation that belongs to the model; a clean base has none, for it has no attack."""
        return None if isinstance(self.stage, Pretrain) else Evaluate(self.stage.experiment, self.stage)

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the models that must be there first."""
        return tuple(stage.key for stage in self.stage.inputs)

    @property
    def epochs(self) -> int:
        """Epochs to train."""
        return _recipe(self.stage).epochs

    def find(self, store: Store) -> "Result | None":
        """The finished result, or None if any part of it is missing."""
        model = store.find(self.stage.name, self.key)
        if model is None or self.evaluation is None:
            return Result(self, model, {}) if model else None
        found = store.find(self.evaluation.name, self.evaluation.key)
        return Result(self, model, found["metrics"]) if found else None


@dataclass(frozen=True)
class Result:
    """A finished job as the store remembers it."""

    job: Job
    model: Manifest
    metrics: dict[str, float]
    """Measured on the test split; empty for a clean base."""


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
    return [loaded.trial(proposal.point, seed) for seed in loaded.study.seeds]


def jobs(trial: Trial) -> list[Job]:
    """The jobs that lead to a trial's result, inputs first."""
    target = Defend(trial.experiment)
    seed = f"seed={trial.seed}"
    names = {"pretrain": "base", "victim": f"victim {seed}", "defend": trial.label}
    return [Job(stage, names[stage.name]) for stage in (*target.upstream(), target) if isinstance(stage, TrainingStage)]


def plan(loaded: LoadedStudy, proposals: Iterable[Proposal], store: Store) -> Plan:
    """Expand points into distinct jobs and look up which are finished.

    Raises:
        ConfigError: If a point does not make a valid experiment, or its parts do not fit each other.
        CheckpointError: If a file of first weights cannot be used.
    """
    found: dict[str, Job] = {}
    for proposal in proposals:
        for trial in trials(loaded, proposal):
            trial.experiment.check()
            for job in jobs(trial):
                _check_shares(job, loaded.runtime.training.num_workers)
                found.setdefault(job.key, job)
    finished = frozenset(key for key, job in found.items() if job.find(store) is not None)
    return Plan(tuple(found.values()), finished)


def _check_shares(job: Job, num_workers: int) -> None:
    batch = _recipe(job.stage).batch_size
    if batch % num_workers:
        part = {"defend": "defense"}.get(job.stage.name, job.stage.name)
        raise ConfigError(
            f"{part}.recipe.batch_size: {batch} samples have no equal shares for {num_workers} workers. "
            "Make it a multiple of training.num_workers."
        )


def images(job: Job) -> int:
    """Images that pass the model forward and backward in a job: a rough measure of its cost."""
    experiment, recipe = job.stage.experiment, _recipe(job.stage)
    views = 1
    if job.stage.name == "pretrain":
        samples = experiment.data.size("train")
    elif job.stage.name == "victim":
        samples = experiment.victim.num_samples or experiment.data.size("train")
    else:
        samples = experiment.defense.num_samples or experiment.data.size("finetune")
        views = experiment.defense.views
    return samples * recipe.epochs * views


def _recipe(stage: TrainingStage) -> Recipe:
    if isinstance(stage, Pretrain):
        assert stage.experiment.pretrain is not None
        return stage.experiment.pretrain.recipe
    return stage.experiment.victim.recipe if stage.name == "victim" else stage.experiment.defense.recipe
