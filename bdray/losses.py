"""The papers' losses as pure functions of features.

Features are float [N, D] with rows of unit length; ``logit_scale`` is the multiplicative 1/tau that open_clip's
models return. Each function returns a scalar.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def clip_loss(image_features: Tensor, text_features: Tensor, logit_scale: Tensor) -> Tensor:
    """Multimodal contrastive loss, both directions (CleanCLIP, Eq. 2).

    Args:
        image_features: [N, D], unit rows.
        text_features: [N, D], unit rows; row i is the caption of image i.
        logit_scale: Scalar, 1/tau.
    """
    logits = logit_scale * image_features @ text_features.T
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def in_modal_loss(features: Tensor, augmented_features: Tensor, logit_scale: Tensor) -> Tensor:
    """Self-supervised contrastive loss of one modality, one direction (a summand of CleanCLIP's Eq. 3).

    ``L_SS`` is the mean of this loss over images and over texts. The same learned temperature serves as in
    the multimodal loss.

    Args:
        features: [N, D], unit rows.
        augmented_features: [N, D], unit rows; row i is the augmented view of sample i.
        logit_scale: Scalar, 1/tau.
    """
    logits = logit_scale * features @ augmented_features.T
    own = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits, own)
