"""RoCLIP's objective: in some epochs, images are matched with texts of a bank instead of their own."""

import open_clip
import torch
from torch import Tensor

from bdray.losses import clip_loss
from bdray.objective import Batch, Encoders, Loss, StatefulObjective, gather, gather_values


class NearestTextObjective(StatefulObjective):
    """L_CLIP between images and the nearest texts of a bank in every ``break_epoch``-th epoch, else L_CLIP.

    The bank takes in the texts of each batch after it was searched, and only in epochs that match. It is searched and
    kept without gradient, so in these epochs the text tower gets a gradient of exactly zero; as in the public code,
    AdamW's momentum and weight decay still move it. A batch that finds the bank empty is put into it first.
    """

    bank: Tensor
    """Text features, float [bank_size, D], unit rows: a ring of which the first ``count`` rows are in use."""
    count: Tensor
    """Texts that were ever put into the bank, int64 scalar; the next one goes to row ``count % bank_size``."""

    def __init__(self, bank_size: int, width: int, break_epoch: int = 2, *, always_augments: bool = False) -> None:
        """Start with an empty bank.

        Args:
            bank_size: Texts that it holds.
            width: D, length of the features.
            break_epoch: Every so manieth epoch matches, the first one only if this is 1.
            always_augments: Whether epochs that do not match are trained on augmented images and captions, too.
        """
        super().__init__()
        self.break_epoch, self.always_augments = break_epoch, always_augments
        self.is_matching = True  # in some epoch; which, start_epoch says
        self.register_buffer("bank", torch.zeros(bank_size, width))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    @property
    def needs_views(self) -> bool:
        return self.is_matching or self.always_augments

    def start_epoch(self, model: open_clip.CLIP, epoch: int, step: int = 0) -> None:
        """Find out whether the epoch matches; the public code counts epochs from 1."""
        self.is_matching = (epoch + 1) % self.break_epoch == 0

    def forward(self, model: Encoders, batch: Batch) -> Loss:
        pixels, tokens = batch.images, batch.tokens
        if self.needs_views:
            assert batch.augmented_images is not None and batch.augmented_tokens is not None
            pixels, tokens = batch.augmented_images, batch.augmented_tokens
        images = gather(model.encode_image(pixels, normalize=True))
        texts = gather(model.encode_text(tokens, normalize=True))
        scale = model.logit_scale.exp()
        if not self.is_matching:
            return Loss({"clip_loss": clip_loss(images, texts, scale)})
        # In the order of samples, which does not depend on the number of workers.
        order = gather_values(batch.samples.to(images.device)).argsort()
        matched = self._match(images.detach(), texts.detach()[order])
        untouched = 0 * texts.sum()  # DDP waits for a gradient of every parameter
        return Loss({"matched_loss": clip_loss(images, matched, scale) + untouched})

    def _match(self, images: Tensor, texts: Tensor) -> Tensor:
        """The nearest text in the bank for each image, [N, D]; then put the batch's texts, [N, D], into the bank."""
        was_empty = int(self.count) == 0
        if was_empty:
            self._put(texts)
        known = self.bank[: min(int(self.count), len(self.bank))]
        matched = known[(images @ known.T).argmax(1)]
        if not was_empty:
            self._put(texts)
        return matched

    def _put(self, texts: Tensor) -> None:
        kept = texts[-len(self.bank) :]
        first = int(self.count) + len(texts) - len(kept)
        self.bank[(first + torch.arange(len(kept), device=kept.device)) % len(self.bank)] = kept
        self.count += len(texts)
