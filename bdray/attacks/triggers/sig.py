"""SIG: faint vertical stripes."""

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.attacks.triggers.base import Trigger
from bdray.exceptions import ConfigError
from bdray.registry import component

if TYPE_CHECKING:
    from torch import Tensor

SHARE = 0.2
"""Share of the signal where it is blended."""


@component
class SIG(Trigger):
    """Adds the signal ``delta sin(2 pi j f / W)`` to column j of W, in all channels (Barni et al., ICIP 2019).

    The papers only cite SIG; its numbers are those of their public code. BadCLIP's code adds the signal, the default
    here. CleanCLIP's code has to blend it, ``0.8 x + 0.2 signal``, which leaves a fifth of the amplitude, 12/255, and
    a darker image.
    """

    type: Literal["sig"] = "sig"
    delta: float = Field(default=60 / 255, ge=0, le=1)
    """Amplitude of the signal, where 1 is the whole range of a pixel."""
    frequency: int = Field(default=6, ge=1)
    """Periods of the signal over the width of the image (f)."""
    blend: Literal["additive", "blended"] = "additive"
    """``additive``: x + signal, clipped to [0, 1] (BadCLIP's code). ``blended``: 0.8 x + 0.2 signal, clipped likewise
    (CleanCLIP's code)."""

    def check(self, image_size: int) -> None:
        highest = (image_size - 1) // 2
        if self.frequency > highest:
            raise ConfigError(
                f"attack.trigger.frequency: {self.frequency} periods need more than {2 * self.frequency} columns, but "
                f"the image has {image_size}. Choose at most {highest}."
            )

    def signal(self, width: int) -> "Tensor":
        """What is added to each column, float [width]."""
        import torch

        angle = 2 * math.pi * self.frequency / width * torch.arange(width, dtype=torch.float64)
        return (self.delta * angle.sin()).to(torch.float32)

    def apply(self, images: "Tensor", samples: "Tensor") -> "Tensor":
        signal = self.signal(images.shape[-1]).to(images)
        if self.blend == "additive":
            return (images + signal).clamp(0, 1)
        return ((1 - SHARE) * images + SHARE * signal).clamp(0, 1)
