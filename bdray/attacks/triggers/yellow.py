"""Yellow: a patch of one color."""

from typing import TYPE_CHECKING, Literal

from bdray.attacks.triggers.patch import PatchTrigger
from bdray.registry import component

if TYPE_CHECKING:
    from torch import Tensor


@component
class Yellow(PatchTrigger):
    """Yellow patch, (1, 1, 0) in every pixel; a patch type of CleanCLIP's public code (backdoor/utils.py)."""

    type: Literal["yellow"] = "yellow"

    def apply(self, images: "Tensor", samples: "Tensor") -> "Tensor":
        import torch

        patch = torch.tensor([1.0, 1.0, 0.0])[:, None, None].expand(3, self.size, self.size)
        return self.place(images, samples, patch)
