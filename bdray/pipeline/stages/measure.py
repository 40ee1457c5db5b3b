"""All of an experiment's metrics on labeled images."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from bdray.pipeline.experiment import Experiment

if TYPE_CHECKING:
    import open_clip
    from torch import nn

    from bdray.attacks.triggers.base import Trigger
    from bdray.data.base import Pairs


def load_model(experiment: Experiment, path: Path, device: str) -> "open_clip.CLIP":
    """The experiment's model with weights from a file, in eval mode."""
    from bdray.models import weights

    model = experiment.model.build(seed=0)
    weights.assign(model, weights.load(path), str(path))
    return model.to(device).eval()


def measure(
    experiment: Experiment,
    model: "open_clip.CLIP",
    pairs: "Pairs",
    trigger: "Trigger | None",
    *,
    in_the_end: bool,
    head: "nn.Linear | None" = None,
) -> dict[str, float]:
    """Measure a model in eval mode; after an epoch, only by what is meant for every epoch.

    With a head, the model classifies by it and not by the classes' names.
    """
    from bdray.evaluation.zero_shot import encode

    attack = experiment.attack
    features = encode(model, experiment.model.tokenizer(), experiment.data, pairs, trigger, attack.target, head)
    numbers: dict[str, float] = {}
    for metric in experiment.evaluation.metrics:
        if (in_the_end or metric.every_epoch) and not (metric.needs_trigger and trigger is None):
            numbers |= metric.measure(features)
    return {name: value for name, value in numbers.items() if math.isfinite(value)}  # a share of no images is no number
