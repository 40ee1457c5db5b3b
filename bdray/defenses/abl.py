"""ABL: training on poisoned data that first looks for the poison and then refuses to learn it."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bdray.defenses.base import DefenderData, Defense, Sizes
from bdray.exceptions import ConfigError
from bdray.registry import component

if TYPE_CHECKING:
    import open_clip

    from bdray.checkpoint import History
    from bdray.training.session import Session

SHARE = 10_000 / 3_000_000
"""Of the training set that the paper suspects."""


@component
class ABL(Defense):
    """Anti-Backdoor Learning for CLIP (Li et al. 2021; CleanCLIP, App. H, and App. I.3 for ``detection: self``).

    Minimizes ``L_CLIP(D_c) + alpha mean_{D_p} (s - target)^2``, where D_p are the k pairs of a similarity s that a
    model that nobody poisoned finds the lowest, and D_c all others. The public code (src/train.py, ``--unlearn``)
    reads D_p from a column of its table; what chooses the pairs is not part of it. The paper detects with OpenAI's
    CLIP whatever is pretrained; here the model that nobody poisoned is the one that the victim starts from.
    """

    starts_from: ClassVar[Literal["victim", "base"]] = "base"
    reads_poisoned: ClassVar[bool] = True
    detection_names: ClassVar[tuple[str, ...]] = tuple(
        f"detection_{name}" for name in ("precision", "recall", "auroc", "true_positives")
    )

    type: Literal["abl"] = "abl"
    detection: Literal["clean_model", "self"] = "clean_model"
    """How D_p is chosen. ``clean_model``: the lowest similarities under a model that nobody poisoned. ``self``: the
    highest under the model in training itself, after ``detection_epoch`` epochs of L_CLIP, because poison is learned
    first."""
    detection_epoch: int | None = Field(default=None, ge=1)
    """T, the epochs before the model judges its own data, for ``detection: self`` only. The paper has 8 (of 64)."""
    num_suspicious: int | None = Field(default=None, ge=1)
    """k, the size of D_p. Give this or ``suspicious_share``."""
    suspicious_share: float | None = Field(default=None, gt=0, lt=1)
    """k as a share of the training set, rounded; without either it is the paper's 10,000 of 3,000,000."""
    unlearning_weight: float = Field(default=1.0, ge=0)
    """alpha, weight of the second term. The paper does not say; 1 is the default of the public code
    (``--constraint_weight``)."""
    target: float = Field(default=0.0, ge=-1, le=1)
    """Similarity that D_p is driven to: 0 in the paper. The public code adds its ``--unlearn_target`` to s, and by
    default that is -1: a target of 1, the opposite of unlearning."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.num_suspicious is not None and self.suspicious_share is not None:
            raise ValueError("give at most one of num_suspicious and suspicious_share")
        if (self.detection == "self") != (self.detection_epoch is not None):
            raise ValueError("give detection_epoch with detection=self, and only then")
        if self.detection_epoch is not None and self.detection_epoch >= self.recipe.epochs:
            raise ValueError(
                f"detection_epoch={self.detection_epoch} leaves none of the {self.recipe.epochs} epochs for unlearning"
            )
        return self

    @property
    def needs_clean_model(self) -> bool:
        return self.detection == "clean_model"

    def images(self, sizes: Sizes) -> int:
        return sizes.trained * self.recipe.epochs

    def count(self, num_trained: int) -> int:
        """k, the number of pairs that are taken for poisoned."""
        share = SHARE if self.suspicious_share is None else self.suspicious_share
        return self.num_suspicious or max(1, round(share * num_trained))

    def check(self, sizes: Sizes) -> None:
        count = self.count(sizes.trained)
        if count >= sizes.trained:
            field = "num_suspicious" if self.num_suspicious else "suspicious_share"
            raise ConfigError(
                f"defense.{field}: {count} of {sizes.trained} training pairs leave none to learn from. Choose at most "
                f"{sizes.trained - 1} of them."
            )

    def run(self, model: "open_clip.CLIP", data: DefenderData, session: "Session") -> "History":
        from bdray.evaluation.detection import detection_metrics, highest, lowest, similarities, write_similarities
        from bdray.training.anti_backdoor import AntiBackdoorObjective

        assert data.poisoned is not None
        given, judge = data.poisoned, data.clean_model if self.needs_clean_model else None
        tokens = session.tokens(given.pairs.captions, given.poisoning)
        count = self.count(len(tokens))
        objective = AntiBackdoorObjective(
            len(tokens),
            score=lambda trained: similarities(trained if judge is None else judge(), given, tokens),
            choose=lambda scores: lowest(scores, count) if judge else highest(scores, count),
            detection_epoch=self.detection_epoch or 0,
            unlearning_weight=self.unlearning_weight,
            target=self.target,
        ).to(session.device)

        def evaluate(*trained: Any) -> dict[str, float]:
            found = session.evaluate(*trained)
            scores, suspicious = objective.detected()
            if suspicious.any():
                found |= detection_metrics(given, suspicious, -scores if judge else scores)
                found["detection_true_positives"] = found["detection_precision"] * count
            return found

        history = dataclasses.replace(session, evaluate=evaluate).train(
            model, objective, self.recipe, given.pairs.images, given.pairs.captions, poisoning=given.poisoning
        )
        if session.folder is not None and history:
            scores, suspicious = objective.detected()
            name = "clean_similarity" if judge else "similarity"
            write_similarities(session.folder, given, {"is_suspicious": suspicious, name: scores})
        return history
