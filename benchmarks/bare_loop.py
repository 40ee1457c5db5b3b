"""The least that a training can do: forward pass, backward pass and optimizer, on batches that lie on the device."""

from dataclasses import dataclass
from functools import partial
from typing import Self, cast

import open_clip
import torch
from torch import Tensor

from bdray.losses import clip_loss, factual_counterfactual_loss, in_modal_loss
from bdray.models.clip import Model
from bdray.models.execution import Execution
from bdray.models.text_tower import encode_text
from bdray.models.towers import TYPES, Tower
from bdray.objective import Batch
from bdray.testing import tiny_model
from bdray.training.optim import Recipe
from bdray.training.sub_captions import SubCaptionedBatch


@dataclass(frozen=True)
class Resident:
    """What passes the towers in a step, put together once and for all."""

    images: Tensor
    """One view or two, float [N, 3, H, W] or [2 N, 3, H, W]."""
    tokens: Tensor
    """One text or two of each sample, int64 [N, L] or [2 N, L]."""
    size: int
    """N"""

    @classmethod
    def of(cls, batch: Batch) -> Self:
        """A batch as the bare loop wants it."""
        images, tokens = [batch.images], [batch.tokens]
        if isinstance(batch, SubCaptionedBatch):
            tokens = [batch.factual_tokens, batch.counterfactual_tokens]
        elif batch.augmented_images is not None:
            images.append(batch.augmented_images)
            tokens.append(cast(Tensor, batch.augmented_tokens))
        return cls(
            torch.cat(images).contiguous(memory_format=torch.channels_last), torch.cat(tokens), len(batch.images)
        )


class BareLoop:
    """Trains a model by the same losses and the same optimizer as ours, on captions cut as ours; all weights are 1."""

    def __init__(self, model: open_clip.CLIP, recipe: Recipe, execution: Execution | None = None) -> None:
        """Get ready; the schedule and the clipping of the recipe's gradient are left out."""
        execution = execution or Execution()
        self._model, self._optimizer = model.train(), recipe.optimizer(model)
        self._type = TYPES.get(execution.precision)
        self._scaler = torch.amp.GradScaler(model.logit_scale.device.type, enabled=execution.precision == "fp16")
        self._image: Tower = model.encode_image
        self._text: Tower = partial(encode_text, model)
        if execution.compile:
            self._image, self._text = torch.compile(self._image), torch.compile(self._text)

    def step(self, batch: Resident) -> None:
        """One step."""
        with torch.autocast(batch.images.device.type, self._type, enabled=self._type is not None):
            pixels, words = self._image(batch.images).float(), self._text(batch.tokens).float()
        seen, read = (torch.nn.functional.normalize(part, dim=-1).split(batch.size) for part in (pixels, words))
        scale = self._model.logit_scale.exp()
        if len(seen) < len(read):  # sub-captions
            loss = factual_counterfactual_loss(seen[0], read[0], read[1], 0.3, 0.3) + 0 * scale
        else:
            loss = clip_loss(seen[0], read[0], scale)
        if len(seen) > 1:
            in_image, in_text = (in_modal_loss(views[0], views[1], scale) for views in (seen, read))
            loss = loss + (in_image + in_text) / 2
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)


def build(name: str, device: torch.device) -> open_clip.CLIP:
    """A model with random weights, laid out in memory as training stages have it."""
    model = tiny_model("vit") if name == "tiny" else Model(architecture=name).build(seed=0)
    return model.to(device, memory_format=torch.channels_last)
