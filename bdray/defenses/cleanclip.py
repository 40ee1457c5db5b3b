"""CleanCLIP: finetuning that also aligns each modality with its own augmentations."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from bdray.defenses.base import CleanDataDefense, DefenderData, Sizes
from bdray.registry import component
from bdray.text.base import TextAugmentation
from bdray.text.eda import Eda

if TYPE_CHECKING:
    import open_clip

    from bdray.checkpoint import History
    from bdray.training.session import Session


@component
class CleanCLIP(CleanDataDefense):
    """Minimizes ``lambda1 L_CLIP + lambda2 L_SS`` on clean pairs (Bansal et al. 2023, Eq. 1).

    Image views come from AutoAugment, drawn anew in every epoch; caption views from EDA, drawn once (App. D.2 and
    src/data.py:36-37 of the public code).
    """

    type: Literal["cleanclip"] = "cleanclip"
    clip_weight: float = Field(default=1.0, ge=0)
    """lambda1, weight of the multimodal contrastive loss."""
    in_modal_weight: float = Field(default=1.0, ge=0)
    """lambda2, weight of the self-supervised loss. 0 is FT."""
    text_augmentation: TextAugmentation = Eda()
    """Makes the second view of each caption."""

    @model_validator(mode="after")
    def _minimizes_something(self) -> Self:
        if self.clip_weight == 0 and self.in_modal_weight == 0:
            raise ValueError("one of clip_weight and in_modal_weight must be above 0")
        return self

    @property
    def views(self) -> int:
        return 2 if self.in_modal_weight else 1

    def check(self, sizes: Sizes) -> None:
        self.text_augmentation.check()

    def run(self, model: "open_clip.CLIP", data: DefenderData, session: "Session") -> "History":
        from bdray.objective import ContrastiveObjective

        assert data.clean is not None

        return session.train(
            model,
            ContrastiveObjective(self.clip_weight, self.in_modal_weight),
            self.recipe,
            data.clean.images,
            data.clean.captions,
            text_augmentation=self.text_augmentation,
        )
