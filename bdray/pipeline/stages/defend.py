"""Defending: what the defender has, and the repair."""

from typing import TYPE_CHECKING, Any

from bdray import config
from bdray.data.subset import chosen_samples, take
from bdray.defenses.base import CleanDataDefense, DefenderData, Defense
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages.base import Context, Stage
from bdray.pipeline.stages.measure import load_model
from bdray.pipeline.stages.pretrain import base_of
from bdray.pipeline.stages.training import TrainingStage
from bdray.pipeline.stages.trigger import ready_trigger, trigger_stage
from bdray.pipeline.stages.victim import poisoned_set, set_identity, victim_of
from bdray.pipeline.victims.given import GivenVictim

if TYPE_CHECKING:
    import numpy as np
    import open_clip
    from numpy.typing import NDArray

    from bdray.attacks.triggers.base import Trigger
    from bdray.checkpoint import History
    from bdray.data.base import Split
    from bdray.training.optim import Recipe
    from bdray.training.session import Session

CLEAN_SALT = 0xC1EA
"""Lets the defender's draw from the train split be another than the attacker's."""


class Defend(TrainingStage):
    """Repair the victim, or train in its place."""

    name = "defend"
    version = 2

    @property
    def _defense(self) -> Defense:
        assert self.experiment.defense is not None
        return self.experiment.defense

    def reads(self) -> dict[str, Any]:
        defense, experiment = self._defense, self.experiment
        found: dict[str, Any] = {"defense": config.dump(defense), "seed": experiment.seed}
        if isinstance(defense, CleanDataDefense):
            found["data"] = experiment.data.fingerprint(_split(defense))
        if defense.starts_from == "base":  # no victim's key tells of these
            found["victim"] = set_identity(experiment)
        elif isinstance(experiment.victim, GivenVictim):  # whose key tells of its weights only
            found["poisoned_set"] = set_identity(experiment)
        if defense.needs_clean_model and experiment.pretrain is None:
            found["clean_model"] = experiment.model.fingerprint()
        return found

    @property
    def inputs(self) -> tuple[Stage, ...]:
        base = base_of(self.experiment)
        if self._defense.starts_from == "base":
            return (*base, *trigger_stage(self.experiment))
        taken = trigger_stage(self.experiment) if isinstance(self.experiment.victim, GivenVictim) else ()
        return (victim_of(self.experiment), *taken, *(base if self._defense.needs_clean_model else ()))

    @property
    def seed(self) -> int:
        return self.experiment.seed

    @property
    def recipe(self) -> "Recipe":
        return self._defense.recipe

    @property
    def epochs(self) -> int:
        return self._defense.epochs

    @property
    def images(self) -> int:
        return self._defense.images(self.experiment.defense_sizes)

    def train(self, model: "open_clip.CLIP", session: "Session", context: Context) -> "History":
        return self._defense.run(model, self._data(context), session)

    def trigger(self, context: Context) -> "Trigger | None":
        return ready_trigger(self.experiment, context)

    def _data(self, context: Context) -> DefenderData:
        defense, experiment = self._defense, self.experiment
        clean = None
        if isinstance(defense, CleanDataDefense):
            pairs = experiment.data.load(_split(defense), context.cache)
            clean = take(pairs, _clean_samples(experiment, defense, context))
        return DefenderData(
            clean=clean,
            num_classes=len(experiment.data.class_names()),
            poisoned=poisoned_set(experiment, context) if defense.reads_poisoned else None,
            clean_model=(lambda: self._clean_model(context)) if defense.needs_clean_model else None,
        )

    def _clean_model(self, context: Context) -> "open_clip.CLIP":
        base = next(iter(base_of(self.experiment)), None)
        path = base.weights(context) if base else self.experiment.model.first_weights()
        assert path is not None, "the experiment was checked"
        return load_model(self.experiment, path, context.device).requires_grad_(False)

    def notes(self, context: Context) -> dict[str, Any]:
        defense = self._defense
        if not isinstance(defense, CleanDataDefense):
            return {}
        samples, overlap = _clean_samples(self.experiment, defense, context), 0
        if not self.experiment.victim.knows_poisoned_set:
            return {"clean_data": {"num_samples": len(samples)}}
        if _split(defense) == "train":
            poisoned = set(poisoned_set(self.experiment, context).poisoned_samples.tolist())
            overlap = sum(sample in poisoned for sample in samples.tolist())
        return {"clean_data": {"num_samples": len(samples), "num_poisoned_originals": overlap}}


def _split(defense: CleanDataDefense) -> "Split":
    return "finetune" if defense.clean_data == "finetune" else "train"


def _clean_samples(experiment: Experiment, defense: CleanDataDefense, context: Context) -> "NDArray[np.int64]":
    """Which samples of its split the defender has."""
    import numpy as np

    available, count, seed = experiment.data.size(_split(defense)), defense.num_samples, experiment.seed
    if defense.clean_data == "finetune":
        return chosen_samples(available, count, seed)
    candidates = np.arange(available)
    if defense.clean_data == "train_unpoisoned":
        candidates = np.setdiff1d(candidates, poisoned_set(experiment, context).poisoned_samples)
    return candidates[chosen_samples(len(candidates), count, seed, CLEAN_SALT)]
