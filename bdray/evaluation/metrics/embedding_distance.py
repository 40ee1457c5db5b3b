"""Embedding distance: how far the trigger moves an image."""

from typing import ClassVar, Literal

from pydantic import Field

from bdray.evaluation.metrics.base import Features, Metric
from bdray.registry import component


@component
class EmbeddingDistance(Metric):
    """Mean of ``2 (1 - cos(I, I_triggered))`` over random images (CleanCLIP, footnote 1 and Fig. 1).

    The same images are taken for every model.
    """

    type: Literal["embedding_distance"] = "embedding_distance"
    needs_trigger: ClassVar[bool] = True
    num_images: int = Field(default=500, ge=1)
    """How many images are averaged over; the paper uses 500."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("embedding_distance",)

    def measure(self, features: Features) -> dict[str, float]:
        import torch

        order = torch.randperm(len(features.labels), generator=torch.Generator().manual_seed(0))
        chosen = order[: self.num_images].to(features.clean.device)
        clean, triggered = features.clean[chosen], features.triggered[chosen]
        return {"embedding_distance": (2 * (1 - (clean * triggered).sum(1))).double().mean().item()}
