"""Pairs to unlearn: the Cartesian product of poisoned images and captions reduced to their most relevant tokens."""

from dataclasses import dataclass

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdray.attacks.poisoned_set import PoisonedSet
from bdray.evaluation.detection import BATCH, shown_images
from bdray.models.clip import normalize
from bdray.models.relevancy import Layers, keep_most_relevant, token_relevancy

SALT = 0xCA97
"""Lets the draw of pairs be another than a training's other draws from the same seed."""


def stored_images(given: PoisonedSet, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A copy of some images of a poisoned set, as files of 8 bits hold them: uint8 [n, 3, H, W]."""
    found = np.empty((len(positions), *given.pairs.images.shape[1:]), np.uint8)
    for start in range(0, len(positions), BATCH):
        some = slice(start, start + BATCH)
        found[some] = (shown_images(given, torch.from_numpy(positions[some])) * 255).round().to(torch.uint8).numpy()
    return found


@dataclass(frozen=True)
class TokenLevel:
    """How captions are reduced, and how many pairs are made of them (UBT, section 3.4; reconstructed)."""

    kept_share: float
    """Of a caption's tokens that stay."""
    layers: Layers
    """Of the text transformer that relevancy is computed over."""
    max_pairs: int
    """Pairs at most; drawn at random from the product if that is larger."""

    def pairs(
        self, model: open_clip.CLIP, given: PoisonedSet, tokens: Tensor, positions: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Pair images with reduced captions.

        Args:
            model: Judges tokens; is in eval mode for the duration.
            given: The poisoned set.
            tokens: Of all its captions, integers [samples, L].
            positions: Of the n images and captions in the set.
            seed: Decides which pairs are drawn.

        Returns:
            Of N pairs the image as a place in ``positions``, [N], and the caption, integers [N, L].
        """
        reduced = self._reduced(model, given, tokens, positions)
        number = len(positions) ** 2
        rng = np.random.default_rng([seed, SALT])
        chosen = np.sort(rng.choice(number, size=min(number, self.max_pairs), replace=False))
        return chosen // len(positions), reduced[torch.from_numpy(chosen % len(positions))]

    def _reduced(
        self, model: open_clip.CLIP, given: PoisonedSet, tokens: Tensor, positions: NDArray[np.int64]
    ) -> Tensor:
        """Each caption by the tokens that matter for its own image, integers [n, L]."""
        device, was_training, found = model.logit_scale.device, model.training, []
        model.eval()
        for some in torch.from_numpy(positions).split(BATCH):
            images = normalize(shown_images(given, some)).to(device).contiguous(memory_format=torch.channels_last)
            with torch.no_grad():
                features = model.encode_image(images, normalize=True)
            relevancy = token_relevancy(model, tokens[some].to(device), features, self.layers)
            found.append(keep_most_relevant(tokens[some], relevancy.cpu(), self.kept_share))
        model.train(was_training)
        return torch.cat(found)
