"""Pictures of what a trigger does."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from bdray.data.base import Images
from bdray.evaluation.zero_shot import EVALUATION_SAMPLES

if TYPE_CHECKING:
    from bdray.attacks.triggers.base import Trigger

COLUMNS = 6
GAIN = 10
"""Factor on differences, so that faint ones can be seen; no difference is mid-gray."""


def draw(images: Images, trigger: "Trigger") -> Image.Image:
    """Three rows of pictures without gaps: a few images, triggered, and their difference times ten.

    Args:
        images: uint8 [N, 3, H, W], of an evaluation split; the first ones are shown.
        trigger: What is put on them.
    """
    clean = torch.from_numpy(np.array(images[:COLUMNS])).float() / 255
    triggered = trigger.apply(clean, EVALUATION_SAMPLES + torch.arange(len(clean)))
    difference = (0.5 + GAIN * (triggered - clean)).clamp(0, 1)
    rows = [torch.cat(list(row), dim=2) for row in (clean, triggered, difference)]
    pixels = (torch.cat(rows, dim=1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())
