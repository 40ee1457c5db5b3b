"""CleanerCLIP's objective: CleanCLIP's, and in extra batches that of sub-captions."""

from dataclasses import dataclass

import torch

from bdray.losses import FactualVariant, factual_counterfactual_loss
from bdray.objective import Batch, ContrastiveObjective, Encoders, Loss, gather
from bdray.training.sub_captions import SubCaptionedBatch


@dataclass(frozen=True)
class FactualCounterfactualObjective:
    """``L_CleanCLIP + lambda2 L_FC`` (CleanerCLIP, Eq. 4), one summand a step.

    L_FC has temperatures of its own, so the model's learned one gets a gradient of zero in extra batches; AdamW's
    momentum still moves it.
    """

    cleanclip: ContrastiveObjective
    """Of batches without sub-captions."""
    factual_weight: float = 1.0
    """lambda2, weight of L_FC."""
    tau_positive: float = 0.3
    """tau+, temperature of similarities with factual sub-captions."""
    tau_negative: float = 0.3
    """tau-, temperature of similarities with counterfactual sub-captions."""
    variant: FactualVariant = "image_to_text"
    """Where counterfactual sub-captions are negatives."""

    @property
    def needs_views(self) -> bool:
        """Whether CleanCLIP's part does; extra batches have none."""
        return self.cleanclip.needs_views

    def __call__(self, model: Encoders, batch: Batch) -> Loss:
        if not isinstance(batch, SubCaptionedBatch):
            return self.cleanclip(model, batch)
        tokens = torch.cat([batch.factual_tokens, batch.counterfactual_tokens])
        images = gather(model.encode_image(batch.images, normalize=True))
        positive, negative = map(gather, model.encode_text(tokens, normalize=True).chunk(2))
        loss = factual_counterfactual_loss(
            images, positive, negative, self.tau_positive, self.tau_negative, self.variant
        )
        untouched = 0 * model.logit_scale  # DDP waits for a gradient of every parameter
        return Loss({"factual_loss": loss + untouched}, {"factual_loss": self.factual_weight})
