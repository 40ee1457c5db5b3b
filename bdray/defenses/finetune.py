"""FT: finetuning on clean pairs with the loss that CLIP was pretrained with."""

from typing import TYPE_CHECKING, Literal

from bdray.defenses.base import Defense
from bdray.registry import component

if TYPE_CHECKING:
    import open_clip

    from bdray.checkpoint import History
    from bdray.data.base import Pairs
    from bdray.training.session import Session


@component
class Finetune(Defense):
    """Minimizes L_CLIP on clean pairs: "MMCL" finetuning in CleanCLIP's Table 1, "FT" in CleanerCLIP."""

    type: Literal["finetune"] = "finetune"

    def run(self, model: "open_clip.CLIP", pairs: "Pairs", session: "Session") -> "History":
        from bdray.objective import ContrastiveObjective

        return session.train(model, ContrastiveObjective(), self.recipe, pairs.images, pairs.captions)
