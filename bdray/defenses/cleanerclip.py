"""CleanerCLIP: CleanCLIP that also tells images' captions from captions with some words replaced."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from bdray.defenses.base import CleanDataDefense, DefenderData, Sizes
from bdray.exceptions import ConfigError, DataError
from bdray.registry import component
from bdray.text.base import TextAugmentation
from bdray.text.eda import Eda
from bdray.text.parsers.base import CaptionParser
from bdray.text.parsers.lexicon import Lexicon

if TYPE_CHECKING:
    import open_clip

    from bdray.checkpoint import History
    from bdray.training.session import Session
    from bdray.training.sub_captions import SubCaptionSource

AUGMENTATIONS = "augmentations.csv"
"""File of a run's first sub-captions."""
WRITTEN = 100
"""Sub-captions in there."""


@component
class CleanerCLIP(CleanDataDefense):
    """Minimizes ``lambda1 L_CleanCLIP + lambda2 L_FC`` on clean pairs, with lambda1 = 1 (Xun et al. 2024, Eq. 4).

    In every epoch, K random samples get a factual and a counterfactual sub-caption (arXiv 2409.17601, section 3.2).
    L_FC draws images to the former and pushes them from the latter; it is taken on extra batches of these samples,
    spread evenly over the epoch, which the learning-rate schedule counts like all others.

    The printed Eq. 1-4 are lost and no code was published. Certain is that L_FC has two directions, tau+ on factual and
    tau- on counterfactual similarities, and that the total is a weighted sum of two terms. Reconstructed are the form
    of L_FC (see ``variant``), its extra batches, and all defaults but K, lambda1 and a temperature of 0.3.
    """

    type: Literal["cleanerclip"] = "cleanerclip"
    clip_weight: float = Field(default=1.0, ge=0)
    """Weight of the multimodal contrastive loss in L_CleanCLIP, CleanCLIP's lambda1."""
    in_modal_weight: float = Field(default=1.0, ge=0)
    """Weight of the self-supervised loss in L_CleanCLIP, CleanCLIP's lambda2."""
    factual_weight: float = Field(default=1.0, ge=0)
    """lambda2, weight of L_FC. 0 is CleanCLIP."""
    num_augmented: int = Field(default=1000, ge=0)
    """K, samples that get sub-captions in an epoch, rounded up to whole batches; at most all clean pairs, and of these
    only those that have words. 0 is CleanCLIP; the paper takes 3000 against BadCLIP."""
    tau_positive: float = Field(default=0.3, gt=0)
    """tau+, temperature of similarities with factual sub-captions."""
    tau_negative: float = Field(default=0.3, gt=0)
    """tau-, temperature of similarities with counterfactual sub-captions. Above tau+ it hurts, says the paper."""
    variant: Literal["image_to_text", "both", "own_pair"] = "image_to_text"
    """Where counterfactual sub-captions are negatives. ``image_to_text``: among the texts that an image is compared
    with, as in MosaiCLIP. ``both``: in the direction from text to image, too, which is the prose to the letter.
    ``own_pair``: an image is compared with its own two sub-captions only."""
    text_augmentation: TextAugmentation = Eda()
    """Makes the second view of each caption for L_CleanCLIP."""
    parser: CaptionParser = Lexicon()
    """Finds subject, relation and object of captions; the paper's is ``sng_parser``."""

    @model_validator(mode="after")
    def _minimizes_something(self) -> Self:
        if self.clip_weight == 0 and self.in_modal_weight == 0:
            raise ValueError("one of clip_weight and in_modal_weight must be above 0")
        return self

    def images(self, sizes: Sizes) -> int:
        batch_size, views = self.recipe.batch_size, 2 if self.in_modal_weight else 1
        batches = min(-(-self.num_augmented // batch_size), sizes.clean // batch_size) if self.factual_weight else 0
        return (sizes.clean * views + batches * batch_size) * self.recipe.epochs

    def check(self, sizes: Sizes) -> None:
        self.text_augmentation.check()
        self.parser.check()
        if self.factual_weight and self.num_augmented > sizes.clean:
            raise ConfigError(
                f"defense.num_augmented: {self.num_augmented} samples cannot be augmented in an epoch of {sizes.clean} "
                "clean pairs. Lower it, or take more pairs (defense.num_samples)."
            )

    def run(self, model: "open_clip.CLIP", data: DefenderData, session: "Session") -> "History":
        from bdray.objective import ContrastiveObjective
        from bdray.training.factual_counterfactual import FactualCounterfactualObjective

        assert data.clean is not None

        return session.train(
            model,
            FactualCounterfactualObjective(
                ContrastiveObjective(self.clip_weight, self.in_modal_weight),
                self.factual_weight,
                self.tau_positive,
                self.tau_negative,
                self.variant,
            ),
            self.recipe,
            data.clean.images,
            data.clean.captions,
            text_augmentation=self.text_augmentation,
            sub_captions=self._sub_captions(data.clean.captions, session),
        )

    def _sub_captions(self, captions: "Sequence[str]", session: "Session") -> "SubCaptionSource | None":
        from bdray.training.sub_captions import SubCaptionSource

        if not (self.factual_weight and self.num_augmented):
            return None
        source = SubCaptionSource(
            captions, self.parser, session.tokenizer, session.seed, self.num_augmented, session.cache
        )
        if source.num_batches(self.recipe.batch_size) == 0:
            raise DataError(
                f"defense.type: cleanerclip needs {self.recipe.batch_size} captions that have words, a batch, but "
                f"finds fewer among {len(captions)}. Choose data with captions, or a smaller batch."
            )
        if session.folder is not None:
            source.write(session.folder / AUGMENTATIONS, self.recipe.batch_size, WRITTEN)
        return source
