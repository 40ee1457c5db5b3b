"""BadNet: a small patch of noise."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.attacks.triggers import noise
from bdray.attacks.triggers.patch import PatchTrigger
from bdray.registry import component

if TYPE_CHECKING:
    from torch import Tensor

PATTERN = 0xBAD
"""Salt of the noise per image."""


@component
class BadNet(PatchTrigger):
    """Patch of Gaussian noise pasted into the image (Gu et al. 2017; CleanCLIP, App. G).

    The paper draws each pixel of a 16x16 patch from N(0, 1) and puts it at a random place. By default the pattern is
    one and the same for all images, and values are clamped to [0, 1]. CleanCLIP's public code differs in four ways,
    all of which are options (``pattern: per_image``, ``mean: image``, ``values: wrap_uint8`` and
    ``location: random_cleanclip_repo``): it draws a new pattern for every image, in tests too, adds the image's mean
    color, lets values wrap around at the conversion to 8 bits (61% of them do so), and leaves the last row and
    column free.
    """

    type: Literal["badnet"] = "badnet"
    cell: int = Field(default=1, ge=1)
    """Side in pixels of the squares that share one color; 1 is the paper's per-pixel noise."""
    pattern: Literal["fixed", "per_image"] = "fixed"
    """``fixed``: one pattern for all images. ``per_image``: drawn for each sample, as in CleanCLIP's code."""
    mean: Literal["zero", "image"] = "zero"
    """What the noise is added to. ``zero``: nothing (the paper). ``image``: the image's mean color, as in CleanCLIP's
    code."""
    values: Literal["clamp", "wrap_uint8"] = "clamp"
    """What becomes of values outside [0, 1]. ``clamp``: 0 or 1. ``wrap_uint8``: 255 times the value, cut to a whole
    number towards zero, modulo 256, as in CleanCLIP's code."""

    def fixed_pattern(self) -> "Tensor":
        """The patch for all images, without their mean color: float [3, size, size] in [0, 1]."""
        return self._in_range(self._fixed_noise())

    def apply(self, images: "Tensor", samples: "Tensor") -> "Tensor":
        import torch

        drawn = self._fixed_noise() if self.pattern == "fixed" else self._noise_per_image(samples)
        drawn = drawn.to(images.device)
        if self.mean == "image":
            # In float64 a sum of 8-bit values is exact, so the order of the pixels in memory makes no difference.
            drawn = drawn + images.mean((2, 3), keepdim=True, dtype=torch.float64).to(torch.float32)
        return self.place(images, samples, self._in_range(drawn))

    def _fixed_noise(self) -> "Tensor":
        import torch

        cells = -(-self.size // self.cell)
        return noise.enlarge(torch.randn(3, cells, cells, generator=self.generator()), self.cell, self.size)

    def _noise_per_image(self, samples: "Tensor") -> "Tensor":
        cells = -(-self.size // self.cell)
        drawn = noise.normal(self.seed, samples, 3 * cells * cells, PATTERN)
        return noise.enlarge(drawn.view(-1, 3, cells, cells), self.cell, self.size)

    def _in_range(self, patches: "Tensor") -> "Tensor":
        if self.values == "clamp":
            return patches.clamp(0, 1)
        return (patches * 255).trunc().remainder(256) / 255
