"""Triggers that are a patch: how large it is and where it goes."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.attacks.triggers.base import Trigger
from bdray.exceptions import ConfigError
from bdray.registry import component

if TYPE_CHECKING:
    from torch import Tensor

Location = Literal["random", "random_cleanclip_repo", "corner", "four_corners", "center"]
PLACE = 0x91ACE
"""Salt of the random places."""


@component
class PatchTrigger(Trigger):
    """Puts a square patch over a part of the image, or over all four corners."""

    size: int = Field(default=16, ge=1)
    """Side of the patch in pixels."""
    location: Location = "random"
    """``random``: uniform over all places, drawn for each sample. ``random_cleanclip_repo``: likewise, but never over
    the last row and column, as in CleanCLIP's code (backdoor/utils.py:54-57). ``corner``: bottom right.
    ``four_corners``: in each of them. ``center``: in the middle."""

    def check(self, image_size: int) -> None:
        if self.size > image_size:
            raise ConfigError(
                f"attack.trigger.size: a patch of {self.size} px does not fit an image of {image_size} px. "
                f"Choose at most {image_size}."
            )
        if self.size == image_size and self.location == "random_cleanclip_repo":
            raise ConfigError(
                f"attack.trigger.location: random_cleanclip_repo leaves the last row and column free, but the patch is "
                f"as large as the image, {image_size} px. Choose location=random or a smaller patch."
            )

    def place(self, images: "Tensor", samples: "Tensor", patches: "Tensor") -> "Tensor":
        """Return copies of the images with the patch where ``location`` says; differentiable in both.

        Args:
            images: Float [N, 3, H, W] in [0, 1].
            samples: Index of each image, int64 [N].
            patches: Float [3, size, size], or [N, 3, size, size] for a patch of its own in each image.
        """
        placed, patches = images.clone(), patches.to(images)
        for corners in self._corners(images.shape[-1], samples):
            paste(placed, patches, corners.to(images.device))
        return placed

    def _corners(self, image_size: int, samples: "Tensor") -> "list[Tensor]":
        """Row and column of the top left pixel of each place, int64 [N, 2]."""
        import torch

        from bdray.attacks.triggers import noise

        last = image_size - self.size
        if self.location == "random":
            return [noise.integers(self.seed, samples, last + 1, 2, PLACE)]
        if self.location == "random_cleanclip_repo":
            return [noise.integers(self.seed, samples, last, 2, PLACE)]
        places = {
            "corner": [(last, last)],
            "four_corners": [(0, 0), (0, last), (last, 0), (last, last)],
            "center": [(last // 2, last // 2)],
        }[self.location]
        return [torch.tensor(place).expand(len(samples), 2) for place in places]


def paste(images: "Tensor", patches: "Tensor", corners: "Tensor") -> None:
    """Overwrite a square of each image, in place and for the whole batch at once.

    Args:
        images: Float [N, 3, H, W].
        patches: Float [3, s, s] or [N, 3, s, s].
        corners: Row and column of the top left pixel of each, int64 [N, 2] on the device of the images.
    """
    import torch

    side = torch.arange(patches.shape[-1], device=images.device)
    image = torch.arange(len(images), device=images.device)[:, None, None]
    rows, columns = (corners[:, axis, None] + side for axis in (0, 1))
    # Indices on both sides of a slice put the sliced dimension, the channels, last: [N, s, s, 3].
    images[image, :, rows[:, :, None], columns[:, None, :]] = patches.movedim(-3, -1)
