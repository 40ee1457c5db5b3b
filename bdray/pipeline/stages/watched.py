"""What metrics read beside the evaluated images: where it comes from, and what keys have to know of it."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdray import config
from bdray.pipeline.experiment import Experiment

if TYPE_CHECKING:
    from bdray.data.base import Pairs, Split
    from bdray.data.examination import Picture
    from bdray.data.tasks.base import Part, TaskSource
    from bdray.evaluation.material import Sources
    from bdray.pipeline.stages.base import Context


def sources(experiment: Experiment, context: "Context", *, attacked: bool, split: "Split" = "validation") -> "Sources":
    """Data that metrics may read; each is read once, and only if one asks.

    Args:
        experiment: Whose data set and attack.
        context: Where to read.
        attacked: Whether there is an attack yet.
        split: What the model is judged on; on the same part of other tasks.
    """
    from bdray.evaluation.material import Sources
    from bdray.pipeline.stages.victim import poisoned_set

    return Sources(
        load=cache(lambda split: experiment.data.load(split, context.cache)),
        task=lambda task: _read(task, _picture(experiment), context.cache, split),
        poisoned=cache(lambda: poisoned_set(experiment, context)) if attacked else None,
    )


def reads_of_metrics(experiment: Experiment, split: "Split") -> dict[str, Any]:
    """What an evaluation reads for the sake of some metrics, as plain JSON; empty for those that read nothing."""
    from bdray.pipeline.stages.victim import set_identity

    metrics = experiment.evaluation.metrics
    splits = sorted({split for metric in metrics for split in metric.splits})
    found: dict[str, Any] = {}
    if splits:
        found["splits"] = {split: experiment.data.fingerprint(split) for split in splits}
    if any(metric.reads_poisoned for metric in metrics):
        found["poisoned"] = set_identity(experiment)
    tasks = tasks_of_metrics(experiment)
    if tasks:
        picture = _picture(experiment)
        found["tasks"] = [[task.fingerprint(part, picture) for part in parts_of(split)] for task in tasks]
    return found


def tasks_of_metrics(experiment: Experiment) -> "list[TaskSource]":
    """Labeled sets beside the experiment's own data, each once."""
    return list(dict.fromkeys(task for metric in experiment.evaluation.metrics for task in metric.tasks))


def passed_by_metrics(experiment: Experiment, *, in_the_end: bool) -> int:
    """Images that one measurement of an attacked model passes forward beside those of the evaluated split and of tasks.

    Args:
        experiment: Whose metrics.
        in_the_end: Whether all of them measure, and not only those that are meant for every epoch.
    """
    metrics = [metric for metric in experiment.evaluation.metrics if in_the_end or metric.every_epoch]
    trained = experiment.num_trained
    poisoned = experiment.attack.count(trained)
    pairs = max((metric.pairs_read(trained, poisoned) for metric in metrics), default=0)
    return pairs + sum(metric.images_read(experiment.data) for metric in metrics)


def parts_of(split: "Split") -> "tuple[Part, Part]":
    """Of a task: what is learned from, and what is judged by where models are judged on ``split``."""
    return "train", "test" if split == "test" else "validation"


def _picture(experiment: Experiment) -> "Picture":
    """Images of other tasks are cut as the papers cut clean ones, whatever the data set does with those of its own."""
    from bdray.data.examination import Picture

    return Picture(experiment.data.image_size, "crop")


def _read(task: "TaskSource", picture: "Picture", folder: Path, split: "Split") -> "tuple[Pairs, Pairs]":
    field = f"evaluation.metrics (the task {task.set_name})"
    learned, judged = (task.load(part, picture, folder, field) for part in parts_of(split))
    return learned, judged


def watched(experiment: Experiment) -> dict[str, Any]:
    """Metrics that make a training another result, for its history is what they are there for; mostly none.

    The history of a victim that was trained without them would lack them, and nobody can measure them later.
    """
    found = [
        config.dump(metric)
        for metric in experiment.evaluation.metrics
        if metric.reads_poisoned and metric.every_epoch and experiment.evaluation.epoch_images
    ]
    return {"watched": found} if found else {}
