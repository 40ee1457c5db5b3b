"""Evaluation of a model on the test split."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdray import config
from bdray.defenses.supervised import HEAD
from bdray.pipeline.stages.base import Context, Stage
from bdray.pipeline.stages.measure import load_model, measure
from bdray.pipeline.stages.training import TrainingStage
from bdray.pipeline.stages.trigger import ready_trigger, trigger_stage

if TYPE_CHECKING:
    from torch import nn

    from bdray.data.base import Split

EXAMPLES = "examples.png"
"""File of the result: a few images, the same with the trigger, and ten times the difference."""


@dataclass(frozen=True)
class Evaluate(Stage):
    """Measure a model on the test split."""

    of: TrainingStage
    split: "Split" = "test"
    name = "evaluate"
    version = 2

    def reads(self) -> dict[str, Any]:
        return {
            "data": self.experiment.data.fingerprint(self.split),
            "trigger": self.experiment.attack.trigger.identity(),
            "target": self.experiment.attack.target,
            "metrics": [config.dump(metric) for metric in self.experiment.evaluation.metrics],
            "split": self.split,
        }

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return (self.of, *trigger_stage(self.experiment))

    def compute(self, context: Context, folder: Path) -> dict[str, Any]:
        from bdray.evaluation.examples import draw

        trigger = ready_trigger(self.experiment, context)
        pairs = self.experiment.data.load(self.split, context.cache)
        model = load_model(self.experiment, self.of.weights(context), context.device)
        draw(pairs.images, trigger).save(folder / EXAMPLES)
        head = self._head(context)
        return {"metrics": measure(self.experiment, model, pairs, trigger, in_the_end=True, head=head)}

    def _head(self, context: Context) -> "nn.Linear | None":
        """The linear head that the model was trained with, if it was."""
        from torch import nn

        from bdray.models import weights

        manifest = context.store.find(self.of.name, self.of.key)
        if manifest is None or HEAD not in manifest["files"]:
            return None
        path = context.store.fetch(self.of.name, self.of.key, HEAD)
        tensors = weights.load(path)
        num_classes, width = tensors["weight"].shape
        head = nn.Linear(width, num_classes)
        weights.assign(head, tensors, str(path))
        return head.to(context.device)
