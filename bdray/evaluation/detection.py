"""Finding poisoned pairs by their similarity: scores of a whole training set, ranks, and how well they tell."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.distributed
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from bdray.attacks.poisoned_set import PoisonedSet
from bdray.models.clip import normalize

BATCH = 256

SIMILARITIES = "similarities.csv"
"""File of a defense's result: one line for each pair of the poisoned set."""

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


def shown_images(given: PoisonedSet, positions: Tensor) -> Tensor:
    """Images as the victim saw them, float [N, 3, H, W] in [0, 1], by their positions in the set, int64 [N]."""
    # Pixels may be a read-only memory map, of which torch makes no tensor without a warning.
    clean = torch.from_numpy(np.array(given.pairs.images[positions.numpy()])).float() / 255
    return given.poisoning.apply(clean, positions)


@torch.inference_mode()
def similarities(model: open_clip.CLIP, given: PoisonedSet, tokens: Tensor) -> NDArray[np.float32]:
    """Cosine of each image with its own caption, as the victim saw them.

    The workers of a group share the batches, and all of them get the same numbers.

    Args:
        model: Is in eval mode for the duration.
        given: N pairs.
        tokens: Of the poisoned captions, integers [N, L].

    Returns:
        float32 [N].
    """
    device = model.logit_scale.device
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank, workers = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if distributed else (0, 1)
    was_training = model.training
    model.eval()
    found = torch.zeros(len(tokens), device=device)
    for positions in torch.arange(len(tokens)).split(BATCH)[rank::workers]:
        found[positions.to(device)] = cosines(model, given, tokens[positions], positions)
    model.train(was_training)
    if distributed:
        torch.distributed.all_reduce(found)  # every number is one worker's, the others hold zero
    scores: NDArray[np.float32] = found.cpu().numpy()
    return scores


@torch.inference_mode()
def cosines(model: open_clip.CLIP, given: PoisonedSet, tokens: Tensor, positions: Tensor) -> Tensor:
    """The same for one batch, by this worker alone: float [n] on the model's device.

    Args:
        model: In eval mode.
        given: The pairs.
        tokens: Of the n poisoned captions, integers [n, L].
        positions: Of the pairs in the set, int64 [n].
    """
    device = model.logit_scale.device
    images = normalize(shown_images(given, positions)).to(device).contiguous(memory_format=torch.channels_last)
    image_features = model.encode_image(images, normalize=True)
    text_features = model.encode_text(tokens.to(device), normalize=True)
    found: Tensor = (image_features * text_features).sum(-1).float()
    return found


def lowest(scores: Floats, count: int) -> NDArray[np.int64]:
    """Positions of the ``count`` lowest of the scores [N], lowest first; among equals the first ones."""
    return np.argsort(scores, kind="stable")[:count]


def highest(scores: Floats, count: int) -> NDArray[np.int64]:
    """Positions of the ``count`` highest of the scores [N], highest first; among equals the first ones."""
    return np.argsort(-scores, kind="stable")[:count]


def precision(is_detected: Bools, is_poisoned: Bools) -> float:
    """Share of poisoned pairs among the detected ones; NaN if nothing was detected. Both bool [N]."""
    return _share(is_poisoned[is_detected])


def recall(is_detected: Bools, is_poisoned: Bools) -> float:
    """Share of detected pairs among the poisoned ones; NaN if nothing is poisoned. Both bool [N]."""
    return _share(is_detected[is_poisoned])


def auroc(scores: Floats, is_poisoned: Bools) -> float:
    """Chance that a poisoned pair has a higher score than a clean one, a tie counting half.

    Args:
        scores: float [N]; infinite ones are ranked, too.
        is_poisoned: bool [N].

    Returns:
        The area under the ROC curve (Mann-Whitney U over its maximum); NaN if one kind is missing.
    """
    poisoned, clean = int(is_poisoned.sum()), int((~is_poisoned).sum())
    if not poisoned or not clean:
        return float("nan")
    ranks = rankdata(scores)[is_poisoned].sum()
    return float((ranks - poisoned * (poisoned + 1) / 2) / (poisoned * clean))


def detection_metrics(given: PoisonedSet, is_detected: Bools, suspicion: Floats) -> dict[str, float]:
    """``detection_precision``, ``_recall`` and ``_auroc``, as far as they are defined.

    Args:
        given: N pairs; knows which of them are poisoned.
        is_detected: Which pairs the defense takes for poisoned, bool [N].
        suspicion: The score by which it does, the higher the more suspicious, float [N].
    """
    is_poisoned = poisoned_mask(given)
    found = {
        "detection_precision": precision(is_detected, is_poisoned),
        "detection_recall": recall(is_detected, is_poisoned),
        "detection_auroc": auroc(suspicion, is_poisoned),
    }
    return {name: value for name, value in found.items() if not np.isnan(value)}


def poisoned_mask(given: PoisonedSet) -> Bools:
    """Which pairs of the set are poisoned, bool [N]. To measure a detection, never to make one."""
    mask = np.zeros(len(given.pairs), dtype=np.bool_)
    mask[list(given.poisoning.captions)] = True
    return mask


def write_similarities(folder: Path, given: PoisonedSet, columns: Mapping[str, Floats | Bools]) -> None:
    """Write :data:`SIMILARITIES`: index in the train split, whether poisoned, and a defense's own columns, each [N]."""
    import pandas as pd

    table = pd.DataFrame({"sample": given.samples, "is_poisoned": poisoned_mask(given), **columns})
    table.to_csv(folder / SIMILARITIES, index=False, float_format="%.6g")


def _share(members: Bools) -> float:
    return float(members.mean()) if len(members) else float("nan")
