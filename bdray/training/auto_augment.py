"""AutoAugment in two halves: what each image gets is drawn on the CPU, then done to all that get the same at once."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torchvision.transforms import v2

Operation = tuple[str, float]
"""Name and strength of what is done to an image."""
PIECE_BYTES = 2**17
"""Images are passed to a CPU in so many bytes at once, that what is made of them stays in its cache."""


class _Drawing(v2.AutoAugment):  # type: ignore[misc]
    """AutoAugment (Cubuk et al. 2019, ImageNet policy), as CleanCLIP uses it, App. D.2; notes what it would do."""

    def draw(self, height: int, width: int) -> list[Operation]:
        self._drawn: list[Operation] = []
        self(torch.zeros(()).expand(3, height, width))
        return self._drawn

    def _apply_image_or_video_transform(
        self, image: Tensor, transform_id: str, magnitude: float, *_: object, **__: object
    ) -> Tensor:
        self._drawn.append((transform_id, magnitude))
        return image


def draw(height: int, width: int) -> list[Operation]:
    """What an image of that size gets, first things first, drawn from torch's generator as torchvision does."""
    return _drawing().draw(height, width)


def apply(images: Tensor, operations: Sequence[Sequence[Operation]]) -> Tensor:
    """Do to each image what was drawn for it: on a CPU what torchvision makes of it alone, to the last bit.

    Args:
        images: uint8 [N, 3, H, W] on any device, which is not waited for.
        operations: Of each of the N images.
    """
    views = images.clone()
    for turn in range(max(map(len, operations), default=0)):
        groups: dict[Operation, list[int]] = defaultdict(list)
        for position, drawn in enumerate(operations):
            if turn < len(drawn):
                groups[drawn[turn]].append(position)
        order = torch.tensor([position for group in groups.values() for position in group]).to(images.device)
        parts = views[order].split([len(group) for group in groups.values()])
        views[order] = torch.cat([_done(part, *operation) for part, operation in zip(parts, groups, strict=True)])
    return views


def _done(images: Tensor, name: str, strength: float) -> Tensor:
    at_once = len(images) if images.is_cuda else max(1, PIECE_BYTES // images[0].nbytes)
    policy = _policy()
    return torch.cat(
        [
            policy._apply_image_or_video_transform(piece, name, strength, policy.interpolation, policy._fill)
            for piece in images.split(at_once)
        ]
    )


@cache
def _policy() -> v2.AutoAugment:
    return v2.AutoAugment()


@cache
def _drawing() -> _Drawing:
    return _Drawing()
