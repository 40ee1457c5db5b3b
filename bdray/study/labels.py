"""Under which names a study's runs have its knobs and results in MLflow: by the labels that its tables use."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from bdray.study.space import Axis, show
from bdray.study.spec import LoadedStudy
from bdray.tracking import View, spell

DIGITS = 4
"""Decimals of a result under its label. The exact number is there too, under the metric's own name."""
SPLIT_TAG = "split"
"""Tag of what a run's results were measured on. Bases and learned triggers have no results and no such tag."""


def knob_names(axes: Mapping[str, Axis]) -> dict[str, str]:
    """Name of each knob's parameter by the knob's path: its label, or the path where no label tells it from others.

    The label stands in the path's place. With both, MLflow's comparison would show each knob twice, and it starts with
    three parameters only.
    """
    labels = {path: spell(axis.name(path) if axis.label or axis.variants else path) for path, axis in axes.items()}
    shared = Counter(labels.values())
    return {path: label if shared[label] == 1 else path for path, label in labels.items()}


def knob_params(axes: Mapping[str, Axis], point: Mapping[str, Any]) -> dict[str, str]:
    """The knobs of a point as parameters."""
    names = knob_names(axes)
    return {names[path]: show(value) for path, value in point.items()}


def result_names(loaded: LoadedStudy) -> dict[str, str]:
    """Short name of each of the study's metrics, ``ASR``, by the metric's own."""
    return {metric.name: spell(metric.label) for metric in loaded.study.metrics}


def curve_name(label: str) -> str:
    """Name of the same metric as it is measured after each epoch, on a few validation images."""
    return f"{label} by epoch"


def view(loaded: LoadedStudy) -> View:
    """How MLflow shows the study: in the order of a knob's values or, where that cannot be, the best first."""
    axes, metrics = loaded.study.axes, tuple(result_names(loaded).values())
    names = knob_names(axes)
    ordered = next((names[path] for path, axis in axes.items() if _sorts_as_text(axis)), None)
    return View(
        knobs=tuple(names.values()),
        metrics=metrics,
        curves=tuple(curve_name(name) for name in metrics[:2]),
        filter=f"tags.{SPLIT_TAG} = '{loaded.split}'",
        order=f"params.`{ordered}`" if ordered else f"metrics.`{metrics[0]}`",
        ascending=ordered is not None or loaded.study.metrics[0].goal == "min",
    )


def _sorts_as_text(axis: Axis) -> bool:
    """Whether the values stand in their order when MLflow sorts them, which takes parameters for text."""
    shown = [show(value) for value in axis.choices]
    return bool(shown) and (axis.variants is not None or shown == sorted(shown))
