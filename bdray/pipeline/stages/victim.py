"""Poisoning: what the victim is trained on, and its training."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdray.attacks.poisoned_set import PoisonedSet
from bdray.data.subset import chosen_samples, take
from bdray.models.clip import hash_of
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages.base import Context, Stage
from bdray.pipeline.stages.measure import load_model
from bdray.pipeline.stages.pretrain import base_of
from bdray.pipeline.stages.training import WEIGHTS, TrainingStage
from bdray.pipeline.stages.trigger import ready_trigger, trigger_stage
from bdray.pipeline.stages.watched import watched
from bdray.pipeline.victims.given import GivenVictim
from bdray.pipeline.victims.trained import TrainedVictim

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

    @property
    def _victim(self) -> TrainedVictim:
        assert isinstance(self.experiment.victim, TrainedVictim)
        return self.experiment.victim

    def reads(self) -> dict[str, Any]:
        experiment = self.experiment
        return {
            "data": experiment.data.fingerprint("train"),
            "model": experiment.model.identity(),
            "attack": experiment.attack.identity(),
            "victim": self._victim.identity(),
            "seed": experiment.seed,
            **watched(experiment),
        }

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return (*base_of(self.experiment), *trigger_stage(self.experiment))

    @property
    def seed(self) -> int:
        return self.experiment.seed

    @property
    def recipe(self) -> "Recipe":
        return self._victim.recipe

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


class TakeVictim(PoisonVictim):
    """Take a victim that was trained elsewhere: nothing but its file decides the result."""

    version = 1

    @property
    def _given(self) -> GivenVictim:
        assert isinstance(self.experiment.victim, GivenVictim)
        return self.experiment.victim

    def reads(self) -> dict[str, Any]:
        model = self.experiment.model
        return {"model": {"weights": hash_of(Path(self._given.weights)), **model.description()}}

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return ()

    @property
    def epochs(self) -> int:
        return 0

    @property
    def images(self) -> int:
        return 0

    @property
    def batch_size(self) -> int | None:
        return None

    def compute(self, context: Context, folder: Path) -> dict[str, Any]:
        from bdray.models import weights

        path = Path(self._given.weights)
        model = load_model(self.experiment, path, "cpu")
        weights.save(model.state_dict(), folder / WEIGHTS)
        return {"metrics": {}, "history": [], "given": {"path": str(path), "sha256": hash_of(path)}}


def victim_of(experiment: Experiment) -> PoisonVictim:
    """The stage that makes the experiment's victim."""
    return TakeVictim(experiment) if isinstance(experiment.victim, GivenVictim) else PoisonVictim(experiment)


def set_identity(experiment: Experiment) -> dict[str, Any]:
    """All that decides the poisoned set, as plain JSON; with what the victim makes of it, where it is trained here."""
    if isinstance(experiment.victim, TrainedVictim):
        return PoisonVictim(experiment).reads()
    return {
        "data": experiment.data.fingerprint("train"),
        "attack": experiment.attack.identity(),
        "num_samples": experiment.victim.num_samples,
        "seed": experiment.seed,
    }
