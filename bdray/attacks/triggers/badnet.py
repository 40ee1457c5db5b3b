"""BadNet: a small patch of noise."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.attacks.triggers.base import Trigger
from bdray.exceptions import ConfigError
from bdray.registry import component

if TYPE_CHECKING:
    from torch import Tensor


@component
class BadNet(Trigger):
    """Patch of Gaussian noise pasted into the image (Gu et al. 2017; CleanCLIP, App. G).

    The paper draws each pixel of a 16x16 patch from N(0, 1) and puts it at a random place. Values are clamped
    to [0, 1] here; the public code lets them wrap around. The pattern is one and the same for all images.
    """

    type: Literal["badnet"] = "badnet"
    size: int = Field(default=16, ge=1)
    """Side of the patch in pixels."""
    cell: int = Field(default=1, ge=1)
    """Side in pixels of the squares that share one color; 1 is the paper's per-pixel noise."""
    location: Literal["random", "corner"] = "random"
    """``random``: uniform over the image, drawn per sample (the paper). ``corner``: bottom right, always."""

    def check(self, image_size: int) -> None:
        if self.size > image_size:
            raise ConfigError(
                f"attack.trigger.size: a patch of {self.size} px does not fit an image of {image_size} px. "
                f"Choose at most {image_size}."
            )

    def pattern(self) -> "Tensor":
        """The patch, float [3, size, size] in [0, 1]."""
        import torch

        cells = -(-self.size // self.cell)
        noise = torch.randn(3, cells, cells, generator=self.generator()).clamp(0, 1)
        return noise.repeat_interleave(self.cell, 1).repeat_interleave(self.cell, 2)[:, : self.size, : self.size]

    def apply(self, images: "Tensor", samples: "Tensor") -> "Tensor":
        import torch

        triggered, patch = images.clone(), self.pattern().to(images)
        last = images.shape[-1] - self.size
        if self.location == "corner":
            triggered[..., last:, last:] = patch
            return triggered
        for row, sample in enumerate(samples.tolist()):
            top, left = torch.randint(last + 1, (2,), generator=self.generator(sample)).tolist()
            triggered[row, :, top : top + self.size, left : left + self.size] = patch
        return triggered
