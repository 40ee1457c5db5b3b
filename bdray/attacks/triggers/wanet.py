"""WaNet: a warp of the image."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.attacks.triggers.base import Trigger
from bdray.exceptions import ConfigError
from bdray.registry import component

if TYPE_CHECKING:
    from torch import Tensor


@component
class WaNet(Trigger):
    """Warps the image by a small fixed field of displacements (Nguyen & Tran, ICLR 2021; CleanCLIP, App. G).

    A field of ``grid`` x ``grid`` vectors, uniform and divided by its mean absolute value, is enlarged to the image
    (bicubic) and moves the pixels, by about ``strength / 2`` pixels along each axis. There is no noise mode: WaNet
    also warps some clean samples at random while it trains, for which an attacker has to control the training;
    CleanCLIP's only poisons data.

    CleanCLIP uses k = 224 for images of 224 pixels. Nothing is enlarged there, so the field is white noise, of 0.50
    pixels in the mean and at most 1.0 along each axis, instead of WaNet's smooth warp (k = 4, s = 0.5).
    """

    type: Literal["wanet"] = "wanet"
    grid: int | None = Field(default=None, ge=2)
    """Side k of the field before it is enlarged; None: the image's own, which makes white noise (CleanCLIP)."""
    strength: float = Field(default=1.0, ge=0)
    """Strength s; the mean displacement along each axis is s / 2 pixels where k is the image's side."""

    def check(self, image_size: int) -> None:
        if self.grid is not None and self.grid > image_size:
            raise ConfigError(
                f"attack.trigger.grid: {self.grid} vectors to a side do not fit an image of {image_size} px. "
                f"Choose at most {image_size}, or null for just as many."
            )

    def field(self, size: int) -> "Tensor":
        """Displacements (x, y) in units of ``2 / size`` image sides, before ``strength``: float [size, size, 2]."""
        import torch
        import torch.nn.functional as F

        k = self.grid or size
        drawn = torch.rand(1, 2, k, k, generator=self.generator()) * 2 - 1
        # In float64 this sum is exact; in float32 it would depend on the number of threads.
        drawn = drawn / drawn.abs().mean(dtype=torch.float64).to(torch.float32)
        if k != size:
            drawn = F.interpolate(drawn, size, mode="bicubic", align_corners=True)
        return drawn[0].movedim(0, -1)

    def places(self, size: int) -> "Tensor":
        """Where each pixel comes from: (x, y), float [size, size, 2], with the image's outer pixels at -1 and 1."""
        import torch

        axis = torch.linspace(-1, 1, size)
        rows, columns = torch.meshgrid(axis, axis, indexing="ij")
        straight = torch.stack([columns, rows], dim=-1)
        return (straight + self.strength * self.field(size) / size).clamp(-1, 1)

    def apply(self, images: "Tensor", samples: "Tensor") -> "Tensor":
        import torch.nn.functional as F

        places = self.places(images.shape[-1]).to(images).expand(len(images), -1, -1, -1)
        warped = F.grid_sample(images, places, mode="bilinear", padding_mode="zeros", align_corners=True)
        return warped.clamp(0, 1)
