"""The papers' losses as pure functions of features.

Features are float [N, D] with rows of unit length; ``logit_scale`` is the multiplicative 1/tau that open_clip's
models return. Each function returns a scalar.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

FactualVariant = Literal["image_to_text", "both", "own_pair"]
"""Where counterfactual sub-captions are negatives; see :func:`factual_counterfactual_loss`."""


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


def similarity_loss(image_features: Tensor, text_features: Tensor, target: float) -> Tensor:
    """Mean squared distance of pairs' similarities from a target; 0 of no pairs.

    Target 0 is the unlearning term of ABL (CleanCLIP, App. H), 1 the overfitting term of UBT (Eq. 1).

    Args:
        image_features: [N, D], unit rows.
        text_features: [N, D], unit rows; row i is the caption of image i.
        target: Similarity to reach.
    """
    similarities = (image_features * text_features).sum(-1)
    return (similarities - target).square().sum() / max(1, len(similarities))


def clip_loss_among(image_features: Tensor, text_features: Tensor, logit_scale: Tensor, members: Tensor) -> Tensor:
    """:func:`clip_loss` of some pairs of a batch among themselves, such as UBT's L_CLIP(D_safe).

    Args:
        image_features: [N, D], unit rows.
        text_features: [N, D], unit rows; row i is the caption of image i.
        logit_scale: Scalar, 1/tau.
        members: Which pairs count, bool [N]. One alone has nothing to be told from, and none at all give zero, too.
    """
    if not members.any():  # zero, but a function of all inputs: DDP waits for a gradient of every parameter
        return 0 * logit_scale * (image_features * text_features).sum()
    return clip_loss(image_features[members], text_features[members], logit_scale)


def unlearning_loss(image_features: Tensor, text_features: Tensor, floor: float = -1.0) -> Tensor:
    """Mean of ``max(s, floor)`` over pairs' similarities s; 0 of no pairs.

    With floor -1 it is the mean of s (UBT, Eq. 3), which has no end before images and captions are opposite.

    Args:
        image_features: [N, D], unit rows.
        text_features: [N, D], unit rows; row i is the caption of image i.
        floor: Similarity from which on down a pair counts as unlearned and has no gradient.
    """
    similarities = (image_features * text_features).sum(-1)
    return similarities.clamp(min=floor).sum() / max(1, len(similarities))


def factual_counterfactual_loss(
    image: Tensor,
    positive: Tensor,
    negative: Tensor,
    tau_positive: float,
    tau_negative: float,
    variant: FactualVariant = "image_to_text",
) -> Tensor:
    """CleanerCLIP's L_FC, the mean of both directions (Eq. 1-3, reconstructed: the printed ones are lost).

    From image to text, image i looks for P_i among all P with tau+ and all Q with tau-. The way back is
    ``image_to_text``: P_i looks for I_i among all images, as in MosaiCLIP, from which the rest descends, too.
    ``both``: all similarities of Q_i with images are in its denominator as well. ``own_pair``: nothing is told apart
    but P_i and Q_i, in either direction the same.

    Args:
        image: I, [K, D], unit rows.
        positive: P, features of factual sub-captions, [K, D], unit rows; row i is of image i.
        negative: Q, features of counterfactual sub-captions, [K, D], unit rows; row i is of image i.
        tau_positive: tau+, temperature of similarities with P.
        tau_negative: tau-, temperature of similarities with Q.
        variant: Which negatives there are.
    """
    positives, negatives = image @ positive.T / tau_positive, image @ negative.T / tau_negative
    if variant == "own_pair":
        return F.softplus(negatives.diagonal() - positives.diagonal()).mean()
    own = torch.arange(len(image), device=image.device)
    back = positives.T if variant == "image_to_text" else torch.cat([positives.T, negatives.T], 1)
    return (F.cross_entropy(torch.cat([positives, negatives], 1), own) + F.cross_entropy(back, own)) / 2
