"""ABL's objective: the detection of suspicious pairs, and a loss that keeps them from being learned."""

from collections.abc import Callable

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdray.losses import clip_loss_among, similarity_loss
from bdray.objective import Batch, Encoders, Loss, StatefulObjective, gather, gather_values

Floats = NDArray[np.floating]


class AntiBackdoorObjective(StatefulObjective):
    """``L_CLIP(D_c) + alpha mean_{D_p} (s - target)^2`` (CleanCLIP, App. H), and before the detection ``L_CLIP``.

    Batches hold a random mix. L_CLIP contrasts the pairs of a batch that are not suspicious among themselves, and the
    mean is over those that are, as in the public code (src/train.py); where a batch has none of either kind, the
    term is 0.
    """

    similarities: Tensor
    """Of all pairs at the time of the detection, float [N]; NaN before."""
    is_suspicious: Tensor
    """Which pairs are in D_p, bool [N]; none before the detection."""

    def __init__(
        self,
        num_pairs: int,
        score: Callable[[open_clip.CLIP], Floats],
        choose: Callable[[Floats], NDArray[np.int64]],
        *,
        detection_epoch: int = 0,
        unlearning_weight: float = 1.0,
        target: float = 0.0,
    ) -> None:
        """Set everything up; nothing is detected yet.

        Args:
            num_pairs: N, the size of the training set.
            score: Similarities of all pairs, [N], given the model in training; the same on all workers.
            choose: Positions of D_p, given these.
            detection_epoch: Epoch before which this is done, counted from 0.
            unlearning_weight: alpha.
            target: Similarity that suspicious pairs are driven to.
        """
        super().__init__()
        self.score, self.choose, self.detection_epoch = score, choose, detection_epoch
        self.unlearning_weight, self.target = unlearning_weight, target
        self.register_buffer("similarities", torch.full((num_pairs,), torch.nan))
        self.register_buffer("is_suspicious", torch.zeros(num_pairs, dtype=torch.bool))

    @property
    def needs_views(self) -> bool:
        return False

    def start_epoch(self, model: open_clip.CLIP, epoch: int, step: int = 0) -> None:
        """Detect, if it is time."""
        if epoch != self.detection_epoch or step > 0:
            return
        scores = self.score(model)
        self.similarities.copy_(torch.from_numpy(scores))
        self.is_suspicious.zero_()
        self.is_suspicious[torch.from_numpy(self.choose(scores))] = True

    def detected(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Similarities of all pairs and which are suspicious, both [N]; before the detection NaN, and none."""
        return self.similarities.cpu().numpy(), self.is_suspicious.cpu().numpy()

    def forward(self, model: Encoders, batch: Batch) -> Loss:
        images = gather(model.encode_image(batch.images, normalize=True))
        texts = gather(model.encode_text(batch.tokens, normalize=True))
        suspicious = self.is_suspicious[gather_values(batch.samples.to(images.device))]
        return Loss(
            {
                "clip_loss": clip_loss_among(images, texts, model.logit_scale.exp(), ~suspicious),
                "unlearning_loss": similarity_loss(images[suspicious], texts[suspicious], self.target),
            },
            {"unlearning_loss": self.unlearning_weight},
        )
