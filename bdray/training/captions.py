"""Token ids of captions and of their second views, made once for all trials of a node that need the same ones."""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bdray import config
from bdray.attacks.poisoning import Poisoning
from bdray.data.cache import shared
from bdray.data.examination import num_threads
from bdray.models import tokenizer as tokenizers
from bdray.models.tokenizer import Tokenizer
from bdray.text.base import TextAugmentation
from bdray.training.ahead import ahead

LARGE = 100_000
"""Captions from which on processes share the work."""
PART = 2_000
"""Captions that a process takes at a time: few, for ids come back through shared memory, of which containers have
little."""
PACKAGES = ("open_clip_torch", "ftfy", "nltk", "spacy")
"""What decides token ids and parsed captions beside our own code."""


def augment_captions(captions: Sequence[str], augmentation: TextAugmentation, seed: int, first: int = 0) -> list[str]:
    """Second view of each caption, a pure function of caption, seed and position, the first of which is ``first``."""
    return [
        augmentation.augment(caption, random.Random(f"{seed}/{position}"))
        for position, caption in enumerate(captions, first)
    ]


def caption_tokens(
    captions: Sequence[str],
    tokenizer: Tokenizer,
    *,
    augmentation: TextAugmentation | None = None,
    seed: int = 0,
    poisoning: Poisoning | None = None,
    folder: Path | None = None,
) -> Tensor:
    """Token ids, the same ones for any number of processes, with a cache and without.

    Args:
        captions: N clean ones, which is what is shared: those that an attacker replaced are few.
        tokenizer: Of the model.
        augmentation: Encodes second views instead, made with ``seed`` and each caption's position.
        seed: For the augmentation.
        poisoning: Replaces captions before they are augmented.
        folder: The cache; None keeps nothing.

    Returns:
        int32 [N, L], half of the room of int64; the caller's to change, for it may be a private memory map.
    """

    def encode(some: Sequence[str], first: int) -> Tensor:
        return tokenizer(augment_captions(some, augmentation, seed, first) if augmentation else some).int()

    def parts() -> Iterator[Tensor]:
        starts, processes = range(0, len(captions), PART), num_threads() if len(captions) >= LARGE else 0
        return ahead(lambda start: encode(captions[start : start + PART], start), starts, processes)

    found = None
    if folder is not None:
        drawn = [config.dump(augmentation), seed] if augmentation else []
        path = folder / f"tokens-{identity(captions, tokenizer, *drawn)}.npy"
        shape = len(captions), tokenizer.context_length
        found = shared(path, shape, np.int32, lambda: (part.numpy() for part in parts()))
    tokens = torch.from_numpy(found) if found is not None else torch.cat(list(parts()))
    for position, caption in poisoning.captions.items() if poisoning else ():
        tokens[position] = encode([caption], position)
    return tokens


def identity(captions: Sequence[str], tokenizer: Tokenizer, *decisive: Any) -> str:
    """A hash of captions and all that decides what becomes of them, the code included: nobody has to count it up.

    Args:
        captions: Any strings.
        tokenizer: Makes the ids.
        decisive: Plain JSON.
    """
    head = [_code(), tokenizers.identity(tokenizer), *decisive]
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for start in range(0, len(captions), PART):
        digest.update(json.dumps(captions[start : start + PART]).encode())
    return digest.hexdigest()[:16]


@cache
def _code() -> str:
    """Hash of the code and the words that make captions and ids, and the versions of the packages that they use."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    sources = [root / "models" / "tokenizer.py", Path(__file__), *(root / "text").rglob("*")]
    for path in sorted(path for path in sources if path.is_file() and "__pycache__" not in path.parts):
        digest.update(path.name.encode() + path.read_bytes())
    for package in PACKAGES:
        try:
            digest.update(f"{package} {version(package)}".encode())
        except PackageNotFoundError:
            continue
    return digest.hexdigest()[:16]
