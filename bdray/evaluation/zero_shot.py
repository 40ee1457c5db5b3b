"""Features of an evaluation set: class weights, clean images and triggered images."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdray.attacks.triggers.base import Trigger
from bdray.data.base import Dataset, Pairs
from bdray.evaluation.metrics.base import Features
from bdray.evaluation.sharing import BATCH, in_batches
from bdray.models.clip import normalize
from bdray.models.tokenizer import Tokenizer
from bdray.objective import Encoders

__all__ = ["BATCH", "EVALUATION_SAMPLES", "class_weights", "encode", "image_features"]
EVALUATION_SAMPLES = 2**40
"""First sample index of evaluation images, so that a trigger draws for them apart from training images."""


@torch.inference_mode()
def class_weights(
    model: Encoders, tokenizer: Tokenizer, names: list[str], templates: list[str], *, shared: bool = False
) -> Tensor:
    """Zero-shot weights, float [C, D]: the normalized mean over templates of normalized text features.

    CleanCLIP's text uses one template, its code (src/evaluate.py:58-67) averages 80.
    """
    device, tokens = model.logit_scale.device, _prompts(tokenizer, tuple(names), tuple(templates))  # type: ignore[arg-type]
    features = in_batches(
        len(tokens), lambda rows: model.encode_text(tokens[rows].to(device), normalize=True), shared=shared
    )
    return F.normalize(features.unflatten(0, (len(names), len(templates))).mean(1), dim=-1)


@lru_cache(maxsize=4)
def _prompts(tokenizer: Tokenizer, names: tuple[str, ...], templates: tuple[str, ...]) -> Tensor:
    """Token ids of each class in each template, class by class. ImageNet's take seconds, and every epoch asks."""
    return tokenizer([template.format(name) for name in names for template in templates])


def image_features(model: Encoders, images: Tensor) -> Tensor:
    """Features of images in [0, 1], float [N, 3, H, W], on the model's device and not normalized: float [N, D]."""
    device = model.logit_scale.device
    found: Tensor = model.encode_image(normalize(images).to(device).contiguous(memory_format=torch.channels_last))
    return found


@torch.inference_mode()
def encode(
    model: Encoders,
    tokenizer: Tokenizer,
    data: Dataset,
    pairs: Pairs,
    trigger: Trigger | None,
    target: str,
    head: nn.Linear | None = None,
    *,
    shared: bool = False,
) -> Features:
    """Compute the features of all labeled images, with and without the trigger, in eval mode.

    Args:
        model: In eval mode.
        tokenizer: The model's.
        data: Names the classes.
        pairs: The images.
        trigger: What is put on them; without one the triggered images are the clean ones.
        target: Class name that the attacker wants.
        head: Classifies unnormalized features in the place of zero-shot weights.
        shared: Whether the workers of the process group share the images and prompts; all must call, with the same
            model, and all get the same features as one worker would.
    """
    device = model.logit_scale.device

    def pixels(positions: Tensor) -> tuple[Tensor, Tensor]:
        # Pixels may be a read-only memory map, of which torch makes no tensor without a warning.
        clean = torch.from_numpy(np.array(pairs.images[positions.numpy()])).float() / 255
        return clean, clean if trigger is None else trigger.apply(clean, EVALUATION_SAMPLES + positions)

    def rows(positions: Tensor) -> Tensor:
        shown, changed = pixels(positions)
        found = image_features(model, shown)
        return torch.stack([found, found if trigger is None else image_features(model, changed)], dim=1)

    clean, triggered = (part.contiguous() for part in in_batches(len(pairs), rows, shared=shared).unbind(1))
    return Features(
        clean=F.normalize(clean, dim=-1),
        triggered=F.normalize(triggered, dim=-1),
        classes=class_weights(model, tokenizer, data.class_names(), data.prompt_templates(), shared=shared),
        labels=torch.from_numpy(pairs.labels).to(device),
        target=data.class_names().index(target),
        clean_scores=head(clean) if head else None,
        triggered_scores=head(triggered) if head else None,
        clean_lengths=clean.norm(dim=-1),
        triggered_lengths=triggered.norm(dim=-1),
        pixels=pixels,
    )
