"""What metrics read beside the evaluated images: where it comes from, and what keys have to know of it."""

from functools import cache
from typing import TYPE_CHECKING, Any

from bdray import config
from bdray.pipeline.experiment import Experiment

if TYPE_CHECKING:
    from bdray.evaluation.material import Sources
    from bdray.pipeline.stages.base import Context


def sources(experiment: Experiment, context: "Context", *, attacked: bool) -> "Sources":
    """Data that metrics may read; each is read once, and only if one asks.

    Args:
        experiment: Whose data set and attack.
        context: Where to read.
        attacked: Whether there is an attack yet.
    """
    from bdray.evaluation.material import Sources
    from bdray.pipeline.stages.victim import poisoned_set

    return Sources(
        load=cache(lambda split: experiment.data.load(split, context.cache)),
        poisoned=cache(lambda: poisoned_set(experiment, context)) if attacked else None,
    )


def reads_of_metrics(experiment: Experiment) -> dict[str, Any]:
    """What an evaluation reads for the sake of some metrics, as plain JSON; empty for those that read nothing."""
    from bdray.pipeline.stages.victim import set_identity

    metrics = experiment.evaluation.metrics
    splits = sorted({split for metric in metrics for split in metric.splits})
    found: dict[str, Any] = {}
    if splits:
        found["splits"] = {split: experiment.data.fingerprint(split) for split in splits}
    if any(metric.reads_poisoned for metric in metrics):
        found["poisoned"] = set_identity(experiment)
    return found


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
