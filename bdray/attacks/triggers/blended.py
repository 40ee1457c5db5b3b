"""Blended: a faint pattern over the whole image."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bdray.attacks.triggers import picture
from bdray.attacks.triggers.base import Trigger
from bdray.attacks.triggers.noise import enlarge, uniform
from bdray.exceptions import ConfigError
from bdray.registry import component

if TYPE_CHECKING:
    from torch import Tensor


@component
class Blended(Trigger):
    """Mixes the image with a pattern: ``(1 - alpha) x + alpha n`` (Chen et al. 2017; CleanCLIP, App. G).

    CleanCLIP's pattern is uniform noise. Chen et al. and BadCLIP's public code also blend in a picture.
    """

    type: Literal["blended"] = "blended"
    alpha: float = Field(default=0.2, ge=0, le=1)
    """Share of the pattern."""
    cell: int = Field(default=1, ge=1)
    """Side in pixels of the squares of noise that share one color; 1 is the paper's per-pixel noise."""
    noise: Literal["fixed", "per_image", "image"] = "per_image"
    """``per_image``: drawn anew for each sample, as in the paper's public code. ``fixed``: one pattern for all.
    ``image``: the picture in ``image``."""
    image: str | None = Field(default=None, min_length=1)
    """File of the picture (PNG, JPEG, WebP, GIF or BMP) for ``noise: image``, resized to the image's size, bicubic."""

    def check(self, image_size: int) -> None:
        if self.noise != "image" and self.image is not None:
            raise ConfigError(
                f"attack.trigger.image: has no effect with noise={self.noise}. Choose noise=image, or leave it out."
            )
        if self.noise == "image":
            if self.image is None:
                raise ConfigError("attack.trigger.image: noise=image needs the file of a picture.")
            if self.cell != 1:
                raise ConfigError(f"attack.trigger.cell: {self.cell} has no effect with noise=image. Leave it out.")
            self._picture(image_size)

    def identity(self) -> dict[str, Any]:
        fields = super().identity()
        if self.image is not None:
            fields["image_sha256"] = picture.sha256(self.image)
        return fields

    def pattern(self, size: int) -> "Tensor":
        """The noise for all images, uniform in [0, 1), float [3, size, size]."""
        import torch

        cells = -(-size // self.cell)
        return enlarge(torch.rand(3, cells, cells, generator=self.generator()), self.cell, size)

    def apply(self, images: "Tensor", samples: "Tensor") -> "Tensor":
        import torch

        size = images.shape[-1]
        if self.noise == "per_image":
            pattern = self._noise_per_image(size, samples.to(images.device))
        else:
            pattern = self.pattern(size) if self.noise == "fixed" else self._picture(size)
        return torch.lerp(images, pattern.to(images).expand_as(images), self.alpha)

    def _noise_per_image(self, size: int, samples: "Tensor") -> "Tensor":
        cells = -(-size // self.cell)
        drawn = uniform(self.seed, samples, 3 * cells * cells)
        return enlarge(drawn.view(-1, 3, cells, cells), self.cell, size)

    def _picture(self, size: int) -> "Tensor":
        """The picture, float [3, size, size] in [0, 1]."""
        import torch

        assert self.image is not None, "check() refuses noise=image without one"
        pixels = torch.from_numpy(picture.read(self.image, size, "attack.trigger.image"))
        return pixels.movedim(-1, 0).float() / 255
