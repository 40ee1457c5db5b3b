"""All of an experiment's metrics on labeled images."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bdray.models.execution import Execution
from bdray.pipeline.experiment import Experiment

if TYPE_CHECKING:
    import open_clip
    from torch import nn

    from bdray.attacks.triggers.base import Trigger
    from bdray.data.base import Pairs
    from bdray.evaluation.material import Sources


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
    sources: "Sources | None" = None,
    folder: Path | None = None,
    execution: Execution | None = None,
    shared: bool = False,
) -> dict[str, float]:
    """Measure a model in eval mode; after an epoch, only by what is meant for every epoch.

    With a head, the model classifies by it and not by the classes' names. Class weights and features of images are
    computed once for all metrics; what some ask for beside them is read from ``sources``, and files that they leave are
    put into ``folder``. If it is ``shared``, the workers of the process group take turns at images and prompts: all
    of them call, and all get the numbers of one worker alone.
    """
    from bdray.evaluation.material import Material
    from bdray.evaluation.zero_shot import encode
    from bdray.models.towers import Towers

    attack = experiment.attack
    tokenizer, towers = experiment.model.tokenizer(), Towers(model, execution or Execution())
    features = replace(
        encode(towers, tokenizer, experiment.data, pairs, trigger, attack.target, head, shared=shared),
        captions=pairs.captions,
        class_names=experiment.data.class_names(),
        material=Material(towers, tokenizer, sources, shared=shared) if sources else None,
        folder=folder,
    )
    numbers: dict[str, float] = {}
    for metric in experiment.evaluation.metrics:
        if (in_the_end or metric.every_epoch) and not (metric.needs_trigger and trigger is None):
            numbers |= metric.measure(features)
    return {name: value for name, value in numbers.items() if math.isfinite(value)}  # a share of no images is no number
