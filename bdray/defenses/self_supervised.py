"""SSL: finetuning on each modality alone."""

from typing import TYPE_CHECKING, Literal

from bdray.defenses.base import CleanDataDefense, DefenderData, Sizes
from bdray.registry import component
from bdray.text.base import TextAugmentation
from bdray.text.eda import Eda

if TYPE_CHECKING:
    import open_clip

    from bdray.checkpoint import History
    from bdray.training.session import Session


@component
class SelfSupervised(CleanDataDefense):
    """Minimizes L_SS alone (CleanCLIP, Eq. 3 and Table 1 row 5): removes backdoors, and clean accuracy with them."""

    type: Literal["self_supervised"] = "self_supervised"
    text_augmentation: TextAugmentation = Eda()
    """Makes the second view of each caption."""

    @property
    def views(self) -> int:
        return 2

    def check(self, sizes: Sizes) -> None:
        self.text_augmentation.check()

    def run(self, model: "open_clip.CLIP", data: DefenderData, session: "Session") -> "History":
        from bdray.objective import ContrastiveObjective

        assert data.clean is not None

        return session.train(
            model,
            ContrastiveObjective(clip_weight=0.0, in_modal_weight=1.0),
            self.recipe,
            data.clean.images,
            data.clean.captions,
            text_augmentation=self.text_augmentation,
        )
