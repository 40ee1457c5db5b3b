"""MMCL + SSL: training on poisoned data with CleanCLIP's objective."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bdray.defenses.base import DefenderData, Defense, Sizes
from bdray.registry import component
from bdray.text.base import TextAugmentation
from bdray.text.eda import Eda

if TYPE_CHECKING:
    import open_clip

    from bdray.checkpoint import History
    from bdray.training.session import Session


@component
class SslPretraining(Defense):
    """Minimizes ``lambda1 L_CLIP + lambda2 L_SS`` on the poisoned data, in place of L_CLIP alone.

    "MMCL + SSL" under "pretraining with poisoned data" in CleanCLIP's Table 1 (row 2), with both weights 1. Triggered
    images and the attacker's captions are augmented like all others: in the public code (src/data.py) poison is part of
    the files.
    """

    starts_from: ClassVar[Literal["victim", "base"]] = "base"
    reads_poisoned: ClassVar[bool] = True

    type: Literal["ssl_pretraining"] = "ssl_pretraining"
    clip_weight: float = Field(default=1.0, gt=0)
    """lambda1, weight of the multimodal contrastive loss."""
    in_modal_weight: float = Field(default=1.0, gt=0)
    """lambda2, weight of the self-supervised loss."""
    text_augmentation: TextAugmentation = Eda()
    """Makes the second view of each caption."""

    def images(self, sizes: Sizes) -> int:
        return sizes.trained * self.recipe.epochs * 2

    def check(self, sizes: Sizes) -> None:
        self.text_augmentation.check()

    def run(self, model: "open_clip.CLIP", data: DefenderData, session: "Session") -> "History":
        from bdray.objective import ContrastiveObjective

        assert data.poisoned is not None

        return session.train(
            model,
            ContrastiveObjective(self.clip_weight, self.in_modal_weight),
            self.recipe,
            data.poisoned.pairs.images,
            data.poisoned.pairs.captions,
            text_augmentation=self.text_augmentation,
            poisoning=data.poisoned.poisoning,
        )
