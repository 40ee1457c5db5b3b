"""Stages whose result is a model."""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bdray.data.base import Pairs
from bdray.pipeline.stages.base import Context, EpochStage
from bdray.pipeline.stages.measure import measure
from bdray.pipeline.stages.watched import passed_by_metrics, sources

if TYPE_CHECKING:
    import open_clip
    from torch import nn

    from bdray.attacks.triggers.base import Trigger
    from bdray.checkpoint import History
    from bdray.training.optim import Recipe
    from bdray.training.session import Session

WEIGHTS = "model.safetensors"


class TrainingStage(EpochStage):
    """A stage whose result is a model."""

    is_attacked: ClassVar[bool] = True
    """Whether there is an attack yet, whose trigger and poisoned pairs epochs are judged by."""

    @abstractmethod
    def train(self, model: "open_clip.CLIP", session: "Session", context: Context) -> "History":
        """Train ``model`` in place."""

    @property
    @abstractmethod
    def seed(self) -> int:
        """Seed of first weights, data order and augmentations."""

    @property
    @abstractmethod
    def recipe(self) -> "Recipe":
        """How it trains."""

    @property
    def epochs(self) -> int:
        return self.recipe.epochs

    @property
    def batch_size(self) -> int | None:
        return self.recipe.batch_size

    @property
    def watched(self) -> int:
        count = min(self.experiment.evaluation.epoch_images, self.experiment.data.size("validation"))
        images = 2 * count  # each with and without the trigger
        if count and self.is_attacked:
            images += passed_by_metrics(self.experiment, in_the_end=False)
        return images * self.epochs

    @property
    def start(self) -> "TrainingStage | None":
        """The stage whose model it starts from; None for the experiment's first weights."""
        return next((stage for stage in self.inputs if isinstance(stage, TrainingStage)), None)

    def weights(self, context: Context) -> Path:
        """Local file of the stage's model."""
        return context.store.fetch(self.name, self.key, WEIGHTS)

    def trigger(self, context: Context) -> "Trigger | None":
        """What epochs are judged with; None where there is no attack yet."""
        return None

    def notes(self, context: Context) -> dict[str, Any]:
        """What the manifest says about the data, beside the metrics."""
        return {}

    def compute(self, context: Context, folder: Path) -> dict[str, Any]:
        import torch

        from bdray.models import weights
        from bdray.models.clip import hash_of
        from bdray.models.recomputation import checkpoint_blocks
        from bdray.training.batch_norm import synchronize
        from bdray.training.session import Session

        experiment = self.experiment
        model = experiment.model.build(self.seed)
        source = self.start.weights(context) if self.start else experiment.model.first_weights()
        first = {}
        if source is not None:
            weights.assign(model, weights.load(source), str(source))
        if source is not None and self.start is None:  # a tag's key does not tell what was downloaded
            first = {"first_weights": {"path": str(source), "sha256": hash_of(source)}}
        model = model.to(device=context.device, memory_format=torch.channels_last)
        if context.world_size > 1:
            synchronize(model)
        if context.execution.gradient_checkpointing:
            checkpoint_blocks(model)
        session = Session(
            tokenizer=experiment.model.tokenizer(),
            seed=self.seed,
            report=lambda metrics: context.report(self.name, metrics),
            evaluate=self._epoch_evaluation(context),
            workspace=context.store.workspace(self.name, self.key),
            copies=context.store.copies,
            cache=context.cache,
            folder=folder,
            device=torch.device(context.device),
            execution=context.execution,
            checkpoint_minutes=context.checkpoint_minutes,
        )
        history = self.train(model, session, context)
        weights.save(model.state_dict(), folder / WEIGHTS)
        return {"metrics": history[-1] if history else {}, "history": history, **first, **self.notes(context)}

    def _epoch_evaluation(self, context: Context) -> "Callable[[open_clip.CLIP, nn.Linear | None], dict[str, float]]":
        count = self.experiment.evaluation.epoch_images
        if count == 0:
            return lambda model, head: {}
        pairs = self.experiment.data.load("validation", context.cache)
        some = Pairs(pairs.images[:count], pairs.captions[:count], pairs.labels[:count])
        trigger = self.trigger(context)
        found = sources(self.experiment, context, attacked=trigger is not None)
        return lambda model, head: measure(
            self.experiment,
            model,
            some,
            trigger,
            in_the_end=False,
            head=head,
            sources=found,
            execution=context.execution,
            shared=context.world_size > 1,
        )
