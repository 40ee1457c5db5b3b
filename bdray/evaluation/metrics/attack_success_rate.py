"""Attack success rate: triggered images that are taken for the target."""

from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from bdray.evaluation.metrics.base import Features, Metric, class_ranks
from bdray.registry import component


@component
class AttackSuccessRate(Metric):
    """Share of triggered images whose k best classes contain the target (CleanCLIP, App. C.4).

    Two definitions are in use and both are measured. ``attack_success_rate`` leaves out images that show the target
    anyway, as CleanCLIP's text says; ``attack_success_rate_include_target`` counts all images, as BadCLIP's public code
    does and CleanerCLIP and UBT probably do. ``chance_attack_success_rate`` is the first definition on clean
    images: what a model without a backdoor would score.
    """

    type: Literal["attack_success_rate"] = "attack_success_rate"
    needs_trigger: ClassVar[bool] = True
    top_k: tuple[PositiveInt, ...] = Field(default=(1, 3, 5, 10), min_length=1)
    """Values of k."""

    @property
    def names(self) -> tuple[str, ...]:
        kinds = ("attack_success_rate", "attack_success_rate_include_target", "chance_attack_success_rate")
        return tuple(f"{kind}_top{k}" for k in self.top_k for kind in kinds)

    def measure(self, features: Features) -> dict[str, float]:
        targets = features.labels.new_full(features.labels.shape, features.target)
        triggered = class_ranks(features.scores(triggered=True), targets)
        clean = class_ranks(features.scores(triggered=False), targets)
        others = features.labels != features.target
        numbers = {}
        for k in self.top_k:
            numbers[f"attack_success_rate_top{k}"] = (triggered[others] < k).double().mean().item()
            numbers[f"attack_success_rate_include_target_top{k}"] = (triggered < k).double().mean().item()
            numbers[f"chance_attack_success_rate_top{k}"] = (clean[others] < k).double().mean().item()
        return numbers
