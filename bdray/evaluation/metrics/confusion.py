"""Confusion: where triggered images go."""

from typing import ClassVar, Literal

from bdray.evaluation.metrics.base import Features, Metric
from bdray.registry import component


@component
class Confusion(Metric):
    """Of triggered images that do not show the target: shares taken for the target, rightly, and for something else.

    The three add up to 1. ``triggered_to_sink`` asks nobody what the target is: it is the largest share that any one
    class gets of the triggered images that do not show it. The whole table of classes and answers is in
    ``confusion.csv``; its counts add up to the number of images.
    """

    type: Literal["confusion"] = "confusion"
    needs_trigger: ClassVar[bool] = True
    every_epoch: ClassVar[bool] = False
    files: ClassVar[tuple[str, ...]] = ("confusion.csv",)

    @property
    def names(self) -> tuple[str, ...]:
        return ("triggered_to_target", "triggered_to_true_class", "triggered_to_other", "triggered_to_sink")

    def measure(self, features: Features) -> dict[str, float]:
        from bdray.evaluation import confusion

        count, labels = len(features.classes), features.labels.cpu()
        clean, triggered = (
            confusion.confusion_matrix(labels, features.scores(triggered=which).argmax(1).cpu(), count)
            for which in (False, True)
        )
        if features.folder is not None:
            confusion.write(features.folder / confusion.CONFUSION, features.class_names, clean, triggered)
        others = triggered[[index for index in range(count) if index != features.target]]
        to_target, right = (
            int(others[:, features.target].sum()),
            int(triggered.trace() - triggered[features.target, features.target]),
        )
        whole = int(others.sum())
        arrived, available = confusion.arrivals(triggered)
        shares = (arrived.double() / available).nan_to_num(0)
        numbers = (to_target, right, whole - to_target - right)
        found = [number / whole if whole else float("nan") for number in numbers]
        return dict(zip(self.names, [*found, shares.max().item()], strict=True))
