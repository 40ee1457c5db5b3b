"""Evaluation of a model on the test split."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdray.defenses.supervised import HEAD
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages.base import Context, Stage
from bdray.pipeline.stages.measure import load_model, measure
from bdray.pipeline.stages.pretrain import base_of
from bdray.pipeline.stages.training import TrainingStage
from bdray.pipeline.stages.trigger import ready_trigger, trigger_stage
from bdray.pipeline.stages.watched import parts_of, passed_by_metrics, reads_of_metrics, sources, tasks_of_metrics
from bdray.pipeline.work import Work, work_of

if TYPE_CHECKING:
    from torch import nn

    from bdray.data.base import Pairs, Split

EXAMPLES = "examples.png"
"""File of the result: a few images, the same with the trigger, and ten times the difference."""


@dataclass(frozen=True)
class Evaluate(Stage):
    """Measure a model on the test split."""

    of: TrainingStage | None
    """The model. None: the experiment's first weights, where these are read from a file."""
    split: "Split" = "test"
    name = "evaluate"
    version = 2

    def reads(self) -> dict[str, Any]:
        model = self.experiment.model
        first = {"first_weights": model.identity()} if self.of is None else {}
        return {
            "data": self.experiment.data.fingerprint(self.split),
            "trigger": self.experiment.attack.trigger.identity(),
            "target": self.experiment.attack.target,
            "metrics": [metric.science() for metric in self.experiment.evaluation.metrics],
            "split": self.split,
            **first,
            **reads_of_metrics(self.experiment, self.split),
        }

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return (*([self.of] if self.of else []), *trigger_stage(self.experiment))

    def work(self) -> Work:
        images = 2 * self.experiment.data.size(self.split)  # each with and without the trigger
        tasks, parts = tasks_of_metrics(self.experiment), parts_of(self.split)
        others = sum(task.size(part) for task in tasks for part in parts)
        others += passed_by_metrics(self.experiment, in_the_end=True)
        return work_of(self.experiment.model, watched=images + others)

    def compute(self, context: Context, folder: Path) -> dict[str, Any]:
        from bdray.evaluation.examples import draw

        trigger = ready_trigger(self.experiment, context)
        pairs = self.experiment.data.load(self.split, context.cache)
        path = self.of.weights(context) if self.of else self.experiment.model.first_weights()
        assert path is not None, "there is a model"
        model = load_model(self.experiment, path, context.device)
        draw(pairs.images, trigger).save(folder / EXAMPLES)
        head = self._head(context)
        metrics = measure(
            self.experiment,
            model,
            pairs,
            trigger,
            in_the_end=True,
            head=head,
            sources=sources(self.experiment, context, attacked=True, split=self.split),
            folder=folder,
            execution=context.execution,
            shared=context.world_size > 1,
        )
        return {"metrics": metrics, "counts": self._counts(pairs)}

    def _counts(self, pairs: "Pairs") -> dict[str, int]:
        """How many images rates are shares of: all, or those that do not show the target anyway."""
        target = self.experiment.data.class_names().index(self.experiment.attack.target)
        return {"num_images": len(pairs), "num_non_target_images": int((pairs.labels != target).sum())}

    def _head(self, context: Context) -> "nn.Linear | None":
        """The linear head that the model was trained with, if it was."""
        from torch import nn

        from bdray.models import weights

        manifest = context.store.find(self.of.name, self.of.key) if self.of else None
        if self.of is None or manifest is None or HEAD not in manifest["files"]:
            return None
        path = context.store.fetch(self.of.name, self.of.key, HEAD)
        tensors = weights.load(path)
        num_classes, width = tensors["weight"].shape
        head = nn.Linear(width, num_classes)
        weights.assign(head, tensors, str(path))
        return head.to(context.device)


def evaluate_base(experiment: Experiment, split: "Split") -> Evaluate | None:
    """What the trigger does to the clean model that the attack starts from; None if that is random weights.

    It is judged by plain metrics only: one that reads more than the split is asked of attacked models.
    """
    base = next(iter(base_of(experiment)), None)
    if base is None and not experiment.model.has_weights:
        return None
    metrics = experiment.evaluation.metrics
    plain = tuple(
        metric for metric in metrics if not (metric.reads_poisoned or metric.splits or metric.tasks or metric.files)
    )
    if plain != metrics:
        experiment = replace(experiment, evaluation=replace(experiment.evaluation, metrics=plain))
    return Evaluate(experiment, base, split)
