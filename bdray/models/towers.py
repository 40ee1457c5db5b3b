"""The towers of a model as training and evaluation use them: in some precision, a part of a batch at a time."""

from collections.abc import Callable
from functools import partial

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bdray.models.execution import Execution
from bdray.models.text_tower import encode_text

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
Tower = Callable[[Tensor], Tensor]


class Towers:
    """A model seen through :class:`Execution`. Features come out in the type of the weights, whatever computed them."""

    def __init__(self, model: open_clip.CLIP, execution: Execution, *, trains: bool = False) -> None:
        """Look at ``model``, which stays as it is.

        Args:
            model: On its device.
            execution: How it is computed.
            trains: Whether for its gradient; parts of batches and compilation are for that only.
        """
        self.model = model
        self._type = TYPES.get(execution.precision)
        self._part = execution.micro_batch if trains else None
        self._image: Tower = model.encode_image
        self._text: Tower = partial(encode_text, model)
        if trains and execution.compile:
            self._image, self._text = torch.compile(self._image), torch.compile(self._text)

    @property
    def logit_scale(self) -> Tensor:
        """The learned log(1/tau)."""
        scale: Tensor = self.model.logit_scale
        return scale

    def encode_image(self, images: Tensor, normalize: bool = False) -> Tensor:
        """Features of images, [N, D]; ``normalize`` makes unit rows of them."""
        return self._features(self._image, images, normalize)

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        """Features of captions, [N, D], likewise; they may lack the padding that all of them have in common."""
        return self._features(self._text, tokens, normalize)

    def _features(self, tower: Tower, inputs: Tensor, normalize: bool) -> Tensor:
        if self._part is None or len(inputs) <= self._part or not torch.is_grad_enabled():
            features = self._pass(tower, inputs)
        else:
            parts = inputs.split(self._part)
            features = torch.cat([checkpoint(self._pass, tower, part, use_reentrant=False) for part in parts])
        return F.normalize(features, dim=-1) if normalize else features

    def _pass(self, tower: Tower, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, self._type, enabled=self._type is not None):
            features = tower(inputs)
        return features.to(self.logit_scale.dtype)
