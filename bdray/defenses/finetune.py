"""FT: finetuning on clean pairs with the loss that CLIP was pretrained with."""

from typing import TYPE_CHECKING, Literal

from bdray.defenses.base import CleanDataDefense, DefenderData
from bdray.registry import component

if TYPE_CHECKING:
    import open_clip

    from bdray.checkpoint import History
    from bdray.training.session import Session


@component
class Finetune(CleanDataDefense):
    """Minimizes L_CLIP on clean pairs: "MMCL" finetuning in CleanCLIP's Table 1, "FT" in CleanerCLIP."""

    type: Literal["finetune"] = "finetune"

    def run(self, model: "open_clip.CLIP", data: DefenderData, session: "Session") -> "History":
        from bdray.objective import ContrastiveObjective

        assert data.clean is not None

        return session.train(model, ContrastiveObjective(), self.recipe, data.clean.images, data.clean.captions)
