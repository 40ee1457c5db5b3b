"""RoCLIP: training on poisoned data that now and then gives images another caption than their own."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bdray.defenses.base import DefenderData, Defense, Sizes
from bdray.exceptions import ConfigError
from bdray.registry import component
from bdray.text.base import TextAugmentation
from bdray.text.eda import Eda

if TYPE_CHECKING:
    import open_clip

    from bdray.checkpoint import History
    from bdray.training.session import Session


@component
class RoCLIP(Defense):
    """Robust contrastive pretraining (Yang et al. 2023, Algorithm 1; arXiv 2303.06854).

    Every ``break_epoch``-th epoch matches each augmented image with the text that is nearest to it in a bank of recent
    ones, and minimizes L_CLIP between images and these; all other epochs minimize L_CLIP. The bank is kept without
    gradient and filled in matching epochs only, with the augmented captions of each batch after its images were
    matched. So an image meets its own caption only if the bank goes back to the last matching epoch, that is if it
    holds more than the training set.

    Deviations from the public code (src/train.py, src/memory_bank.py): there the bank starts with random vectors, which
    are matched until they are overwritten, and drops the rest of a batch that does not fit behind its end; here it
    starts empty and is a ring. There it is lost with the process; here it is part of the checkpoint.
    """

    starts_from: ClassVar[Literal["victim", "base"]] = "base"
    reads_poisoned: ClassVar[bool] = True

    type: Literal["roclip"] = "roclip"
    break_epoch: int = Field(default=2, ge=1)
    """Every so manieth epoch matches, the first one only if this is 1."""
    bank_size: int = Field(default=21_845, ge=1)
    """Texts in the bank. The default is the public code's, about 2% of the paper's million pairs."""
    augmented_epochs: Literal["matching", "all"] = "matching"
    """Which epochs are trained on augmented images and captions instead of the originals. ``matching``: those that
    match. ``all``: the public code with ``--cross_aug``."""
    text_augmentation: TextAugmentation = Eda()
    """Augments captions, once for the whole training. Images are flipped, cropped, jittered, grayed and blurred, anew
    in every epoch."""

    def images(self, sizes: Sizes) -> int:
        return sizes.trained * self.recipe.epochs

    def check(self, sizes: Sizes) -> None:
        self.text_augmentation.check()
        if self.break_epoch > self.recipe.epochs:
            raise ConfigError(
                f"defense.break_epoch: none of {self.recipe.epochs} epochs is the {self.break_epoch}th, so nothing "
                "would differ from no defense. Lower it, or train for longer."
            )

    def run(self, model: "open_clip.CLIP", data: DefenderData, session: "Session") -> "History":
        import torch

        from bdray.training.nearest_text import NearestTextObjective

        assert data.poisoned is not None

        with torch.no_grad():
            width = model.encode_text(session.tokenizer(["one"]).to(session.device)).shape[1]
        objective = NearestTextObjective(
            self.bank_size, width, self.break_epoch, always_augments=self.augmented_epochs == "all"
        )
        return session.train(
            model,
            objective.to(session.device, model.logit_scale.dtype),
            self.recipe,
            data.poisoned.pairs.images,
            data.poisoned.pairs.captions,
            text_augmentation=self.text_augmentation,
            image_augmentation="roclip",
            poisoning=data.poisoned.poisoning,
        )
