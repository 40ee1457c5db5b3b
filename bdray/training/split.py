"""UBT's objective: a loss of its own for marked pairs, L_CLIP for all others."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from bdray.losses import clip_loss_among
from bdray.objective import Batch, Encoders, Loss, gather, gather_values

PairLoss = Callable[[Tensor, Tensor], Tensor]
"""From unit features of n images and of their captions, [n, D] each, to a scalar; n may be 0."""


@dataclass(frozen=True)
class SplitObjective:
    """``loss(marked) + clip_weight L_CLIP(others)``: Eq. 1 of UBT, and its Eq. 3 with what keeps clean accuracy.

    Batches hold a random mix. The others are contrasted among themselves, so L_CLIP of a single one is 0; where a batch
    has none of either kind, their term is 0.
    """

    is_marked: Tensor
    """Which samples of the training set are marked, bool [samples], on the model's device."""
    loss: PairLoss
    """Of the marked pairs."""
    name: str
    """Name of that term."""
    clip_weight: float = 1.0
    """Weight of L_CLIP; 0 leaves it out."""
    needs_views: bool = False

    def __call__(self, model: Encoders, batch: Batch) -> Loss:
        images = gather(model.encode_image(batch.images, normalize=True))
        texts = gather(model.encode_text(batch.tokens, normalize=True))
        marked = self.is_marked[gather_values(batch.samples.to(images.device))]
        scale = model.logit_scale.exp()
        own = self.loss(images[marked], texts[marked])
        if self.clip_weight == 0:
            return Loss({self.name: own + 0 * scale})  # DDP waits for a gradient of every parameter
        others = clip_loss_among(images, texts, scale, ~marked)
        return Loss({self.name: own, "clip_loss": others}, {"clip_loss": self.clip_weight})
