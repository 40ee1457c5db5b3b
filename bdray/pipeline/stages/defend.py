"""Defending: what the defender has, and the repair."""

from typing import TYPE_CHECKING, Any

from bdray import config
from bdray.data.subset import chosen_samples, take
from bdray.pipeline.stages.base import Context, Stage
from bdray.pipeline.stages.training import TrainingStage
from bdray.pipeline.stages.trigger import ready_trigger
from bdray.pipeline.stages.victim import PoisonVictim, poisoned_set

if TYPE_CHECKING:
    import numpy as np
    import open_clip
    from numpy.typing import NDArray

    from bdray.attacks.triggers.base import Trigger
    from bdray.checkpoint import History
    from bdray.data.base import Pairs, Split
    from bdray.defenses.base import Defense
    from bdray.training.optim import Recipe
    from bdray.training.session import Session


class Defend(TrainingStage):
    """Repair the victim."""

    name = "defend"

    @property
    def _defense(self) -> "Defense":
        assert self.experiment.defense is not None
        return self.experiment.defense

    @property
    def _split(self) -> "Split":
        return "finetune" if self._defense.clean_data == "finetune" else "train"

    def reads(self) -> dict[str, Any]:
        return {
            "data": self.experiment.data.fingerprint(self._split),
            "defense": config.dump(self._defense),
            "seed": self.experiment.seed,
        }

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return (PoisonVictim(self.experiment),)

    @property
    def seed(self) -> int:
        return self.experiment.seed

    @property
    def recipe(self) -> "Recipe":
        return self._defense.recipe

    @property
    def images(self) -> int:
        samples = self._defense.num_samples or self.experiment.data.size(self._split)
        return samples * self.epochs * self._defense.views

    def train(self, model: "open_clip.CLIP", session: "Session", context: Context) -> "History":
        return self._defense.run(model, self._clean_pairs(context), session)

    def trigger(self, context: Context) -> "Trigger | None":
        return ready_trigger(self.experiment, context)

    def _clean_pairs(self, context: Context) -> "Pairs":
        pairs = self.experiment.data.load(self._split, context.cache)
        return take(pairs, self._clean_samples(context))

    def _clean_samples(self, context: Context) -> "NDArray[np.int64]":
        """Which samples of its split the defender has."""
        import numpy as np

        available, count = self.experiment.data.size(self._split), self._defense.num_samples
        if self._defense.clean_data != "train_unpoisoned":
            return chosen_samples(available, count, self.seed)
        poisoned = poisoned_set(self.experiment, context).poisoned_samples
        unpoisoned = np.setdiff1d(np.arange(available), poisoned)
        return unpoisoned[chosen_samples(len(unpoisoned), count, self.seed)]

    def notes(self, context: Context) -> dict[str, Any]:
        import numpy as np

        samples = self._clean_samples(context)
        overlap = 0
        if self._split == "train":
            overlap = int(np.isin(samples, poisoned_set(self.experiment, context).poisoned_samples).sum())
        return {"clean_data": {"num_samples": len(samples), "num_poisoned_originals": overlap}}
