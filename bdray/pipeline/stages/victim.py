"""Poisoning: what the victim is trained on, and its training."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdray import config
from bdray.attacks.poisoned_set import PoisonedSet
from bdray.data.subset import chosen_samples, take
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages.base import Context, Stage
from bdray.pipeline.stages.pretrain import base_of
from bdray.pipeline.stages.training import TrainingStage
from bdray.pipeline.stages.trigger import ready_trigger, trigger_stage

if TYPE_CHECKING:
    import open_clip

    from bdray.attacks.triggers.base import Trigger
    from bdray.checkpoint import History
    from bdray.training.optim import Recipe
    from bdray.training.session import Session


def decided_set(experiment: Experiment, cache: Path) -> PoisonedSet:
    """Draw the victim's training set and decide what is poisoned; a pure function of the experiment.

    The trigger is as it is configured: one that has to be learned is not ready to be applied.
    """
    pairs = experiment.data.load("train", cache)
    samples = chosen_samples(len(pairs), experiment.victim.num_samples, experiment.seed)
    pairs = take(pairs, samples)
    return PoisonedSet(pairs, experiment.attack.poison(pairs.captions, experiment.seed), samples)


def poisoned_set(experiment: Experiment, context: Context) -> PoisonedSet:
    """The same with a trigger that is ready to be applied."""
    given = decided_set(experiment, context.cache)
    ready = dataclasses.replace(given.poisoning, trigger=ready_trigger(experiment, context))
    return dataclasses.replace(given, poisoning=ready)


class PoisonVictim(TrainingStage):
    """Train on poisoned data."""

    name = "victim"

    def reads(self) -> dict[str, Any]:
        experiment = self.experiment
        return {
            "data": experiment.data.fingerprint("train"),
            "model": {"weights": experiment.model.fingerprint(), **experiment.model.description()},
            "attack": experiment.attack.identity(),
            "victim": config.dump(experiment.victim),
            "seed": experiment.seed,
        }

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return (*base_of(self.experiment), *trigger_stage(self.experiment))

    @property
    def seed(self) -> int:
        return self.experiment.seed

    @property
    def recipe(self) -> "Recipe":
        return self.experiment.victim.recipe

    @property
    def images(self) -> int:
        return self.experiment.num_trained * self.epochs

    def train(self, model: "open_clip.CLIP", session: "Session", context: Context) -> "History":
        from bdray.objective import ContrastiveObjective

        given = poisoned_set(self.experiment, context)
        return session.train(
            model,
            ContrastiveObjective(),
            self.recipe,
            given.pairs.images,
            given.pairs.captions,
            poisoning=given.poisoning,
        )

    def trigger(self, context: Context) -> "Trigger | None":
        return ready_trigger(self.experiment, context)

    def notes(self, context: Context) -> dict[str, Any]:
        given = poisoned_set(self.experiment, context)
        count, available = len(given.poisoning.captions), len(given.pairs)
        return {"poisoning": {"num_poisoned": count, "num_samples": available, "poison_ratio": count / available}}
