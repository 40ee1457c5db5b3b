"""Blended: a faint pattern over the whole image."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.attacks.triggers.base import Trigger
from bdray.registry import component

if TYPE_CHECKING:
    from torch import Tensor


@component
class Blended(Trigger):
    """Mixes the image with uniform noise: ``(1 - alpha) x + alpha n`` (Chen et al. 2017; CleanCLIP, App. G)."""

    type: Literal["blended"] = "blended"
    alpha: float = Field(default=0.2, ge=0, le=1)
    """Share of the noise."""
    cell: int = Field(default=1, ge=1)
    """Side in pixels of the squares that share one color; 1 is the paper's per-pixel noise."""
    noise: Literal["fixed", "per_image"] = "per_image"
    """``per_image``: drawn anew for each sample, as in the paper's public code. ``fixed``: one pattern for all."""

    def pattern(self, size: int, *salt: int) -> "Tensor":
        """Uniform noise in [0, 1), float [3, size, size]."""
        import torch

        cells = -(-size // self.cell)
        noise = torch.rand(3, cells, cells, generator=self.generator(*salt))
        return noise.repeat_interleave(self.cell, 1).repeat_interleave(self.cell, 2)[:, :size, :size]

    def apply(self, images: "Tensor", samples: "Tensor") -> "Tensor":
        import torch

        size = images.shape[-1]
        if self.noise == "fixed":
            noise = self.pattern(size)
        else:
            noise = torch.stack([self.pattern(size, sample) for sample in samples.tolist()])
        return torch.lerp(images, noise.to(images).expand_as(images), self.alpha)
