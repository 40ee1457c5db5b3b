"""Clean accuracy: zero-shot classification of images without the trigger."""

from typing import Literal

from pydantic import Field, PositiveInt

from bdray.evaluation.metrics.base import Features, Metric, class_ranks
from bdray.registry import component


@component
class CleanAccuracy(Metric):
    """Share of clean images whose k best classes contain the true one: CA (CleanCLIP), BA (CleanerCLIP)."""

    type: Literal["clean_accuracy"] = "clean_accuracy"
    top_k: tuple[PositiveInt, ...] = Field(default=(1, 3, 5, 10), min_length=1)
    """Values of k."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"clean_accuracy_top{k}" for k in self.top_k)

    def measure(self, features: Features) -> dict[str, float]:
        ranks = class_ranks(features.scores(triggered=False), features.labels)
        return {f"clean_accuracy_top{k}": (ranks < k).double().mean().item() for k in self.top_k}
