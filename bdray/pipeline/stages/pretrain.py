"""Clean pretraining."""

from typing import TYPE_CHECKING, Any, ClassVar

from bdray import config
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages.base import Context
from bdray.pipeline.stages.training import TrainingStage

if TYPE_CHECKING:
    import open_clip

    from bdray.checkpoint import History
    from bdray.training.optim import Recipe
    from bdray.training.session import Session


class Pretrain(TrainingStage):
    """Train a clean base from random weights."""

    name = "pretrain"
    is_attacked: ClassVar[bool] = False

    def reads(self) -> dict[str, Any]:
        return {
            "data": self.experiment.data.fingerprint("train"),
            "model": self.experiment.model.description(),
            "pretrain": config.dump(self.experiment.pretrain),
        }

    @property
    def seed(self) -> int:
        assert self.experiment.pretrain is not None
        return self.experiment.pretrain.seed

    @property
    def recipe(self) -> "Recipe":
        assert self.experiment.pretrain is not None
        return self.experiment.pretrain.recipe

    @property
    def images(self) -> int:
        return self.experiment.data.size("train") * self.epochs

    def train(self, model: "open_clip.CLIP", session: "Session", context: Context) -> "History":
        from bdray.objective import ContrastiveObjective

        pairs = self.experiment.data.load("train", context.cache)
        return session.train(model, ContrastiveObjective(), self.recipe, pairs.images, pairs.captions)


def base_of(experiment: Experiment) -> tuple[Pretrain, ...]:
    """The stage that trains the experiment's clean base, if there is one."""
    return (Pretrain(experiment),) if experiment.pretrain is not None else ()
