"""Linear probe on another task: what a model's features are worth for images that the attack is not about."""

from typing import Any, Literal

from bdray.data.tasks.base import TaskSource
from bdray.evaluation.metrics.base import Features
from bdray.evaluation.metrics.probing import Probing
from bdray.registry import component

PREFIX = {"paper": "probe", "lbfgs": "logistic_probe"}
"""Of the name of the number, so that both protocols can be measured side by side."""


@component
class TransferProbe(Probing):
    """Trains a linear classifier on a labeled set of its own and counts its right answers (CleanerCLIP, Table 2).

    It learns from the set's ``train`` part and is judged on the part that the study judges models on, ``test`` or, in
    searches, ``validation``. Nothing of it has a trigger: it says what a defense costs features that are used for
    something else. ``probe_cifar10_accuracy`` is the share of images that are classified rightly, with the name of the
    set in it. The model's image size is the set's, too; images are resized and the center is cut out.
    """

    type: Literal["transfer_probe"] = "transfer_probe"
    task: TaskSource
    """The labeled set, all of whose images are used; a set's own fields, such as ``num_train``, take fewer."""

    @property
    def names(self) -> tuple[str, ...]:
        return (f"{PREFIX[self.protocol]}_{self.task.set_name}_accuracy",)

    @property
    def tasks(self) -> tuple[TaskSource, ...]:
        return (self.task,)

    def science(self) -> dict[str, Any]:
        return super().science() | {"task": self.task.science()}

    def measure(self, features: Features) -> dict[str, float]:
        if features.material is None:
            return {}
        learned, judged = features.material.task(self.task)
        found = self.trained(learned, len(self.task.class_names()))(judged.features)
        return {self.names[0]: (found == judged.labels).double().mean().item()}
