"""Features of an evaluation set: class weights, clean images and triggered images."""

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdray.attacks.triggers.base import Trigger
from bdray.data.base import Dataset, Pairs
from bdray.evaluation.metrics.base import Features
from bdray.models.clip import normalize
from bdray.models.tokenizer import Tokenizer

BATCH = 256
EVALUATION_SAMPLES = 2**40
"""First sample index of evaluation images, so that a trigger draws for them apart from training images."""


@torch.inference_mode()
def class_weights(model: open_clip.CLIP, tokenizer: Tokenizer, names: list[str], templates: list[str]) -> Tensor:
    """Zero-shot weights, float [C, D]: the normalized mean over templates of normalized text features.

    CleanCLIP's text uses one template, its code (src/evaluate.py:58-67) averages 80.
    """
    device = model.logit_scale.device
    prompts = tokenizer([template.format(name) for name in names for template in templates])
    features = [model.encode_text(part.to(device), normalize=True) for part in prompts.split(BATCH)]
    return F.normalize(torch.cat(features).unflatten(0, (len(names), len(templates))).mean(1), dim=-1)


@torch.inference_mode()
def encode(
    model: open_clip.CLIP,
    tokenizer: Tokenizer,
    data: Dataset,
    pairs: Pairs,
    trigger: Trigger | None,
    target: str,
    head: nn.Linear | None = None,
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
    """
    device = model.logit_scale.device

    def pixels(positions: Tensor) -> tuple[Tensor, Tensor]:
        # Pixels may be a read-only memory map, of which torch makes no tensor without a warning.
        clean = torch.from_numpy(np.array(pairs.images[positions.numpy()])).float() / 255
        return clean, clean if trigger is None else trigger.apply(clean, EVALUATION_SAMPLES + positions)

    def features(images: Tensor) -> Tensor:
        prepared = normalize(images).to(device).contiguous(memory_format=torch.channels_last)
        found: Tensor = model.encode_image(prepared)
        return found

    clean: list[Tensor] = []
    triggered: list[Tensor] = []
    for positions in torch.arange(len(pairs)).split(BATCH):
        shown, changed = pixels(positions)
        clean.append(features(shown))
        triggered.append(clean[-1] if trigger is None else features(changed))
    both = torch.cat(clean), torch.cat(triggered)
    return Features(
        clean=F.normalize(both[0], dim=-1),
        triggered=F.normalize(both[1], dim=-1),
        classes=class_weights(model, tokenizer, data.class_names(), data.prompt_templates()),
        labels=torch.from_numpy(pairs.labels).to(device),
        target=data.class_names().index(target),
        clean_scores=head(both[0]) if head else None,
        triggered_scores=head(both[1]) if head else None,
        pixels=pixels,
    )
