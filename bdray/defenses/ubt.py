"""UBT: overfit to what looks poisoned, detect by that, and unlearn what was detected."""

import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bdray.attacks.poisoned_set import PoisonedSet
from bdray.data.subset import chosen_samples
from bdray.defenses.base import DefenderData, Defense, Sizes
from bdray.exceptions import ConfigError
from bdray.registry import component
from bdray.training.optim import Recipe

if TYPE_CHECKING:
    import numpy as np
    import open_clip
    from numpy.typing import NDArray
    from torch import Tensor

    from bdray.checkpoint import History
    from bdray.training.session import Session
    from bdray.training.split import PairLoss

    Positions = NDArray[np.int64]

SALT = 0x5AFE
"""Lets the draw from D_safe be another than a training's other draws from the same seed."""


@component
class UBT(Defense):
    """Unlearning backdoor threats (Liang et al. 2024, arXiv 2403.16257).

    A clean model calls the pairs of lowest similarity suspicious. A copy of the victim is overfitted to them (Eq. 1),
    which a shortcut from trigger to target makes easy: the k that it then finds most similar are detected (Eq. 2). The
    victim unlearns them (Eq. 3), each image with every caption reduced to its most relevant tokens.

    The defaults are the paper's values, as far as it gives any: sizes of D_susp, D_topk and D_unlearn, and how tokens
    are reduced, are reconstructed. Eq. 3 has no lower bound and nothing that keeps clean accuracy; ``objective`` and
    ``safe_weight`` give it both.
    """

    starts_from: ClassVar[Literal["victim", "base"]] = "victim"
    reads_poisoned: ClassVar[bool] = True
    needs_clean_model: ClassVar[bool] = True
    detection_names: ClassVar[tuple[str, ...]] = (
        *("detection_precision", "detection_recall", "detection_auroc", "detection_split_recall"),
        *(f"detection_{model}_auroc" for model in ("clean", "victim", "overfitted")),
    )

    type: Literal["ubt"] = "ubt"
    overfit_recipe: Recipe = Recipe(epochs=5, batch_size=64, learning_rate=1e-6, warmup_steps=0)
    """How the copy of the victim is overfitted (Eq. 1)."""
    recipe: Recipe = Recipe(epochs=3, batch_size=64, learning_rate=1e-5, warmup_steps=0)
    """How the victim unlearns (Eq. 3). The paper names no warm-up, and without the token level there are three steps in
    all."""
    suspicious_share: float = Field(default=0.02, gt=0, le=1)
    """Share of the training pairs, those of lowest similarity under the clean model, that is D_susp; the rest is
    D_safe. The paper does not tell; the 10,000 pairs of ABL are 2% of its 500,000."""
    num_safe: int | None = Field(default=None, ge=0)
    """Pairs of D_safe that are trained on, drawn at random once for both phases; None: all of them, and then Eq. 3 with
    ``safe_weight`` needs memory for a copy of their images."""
    num_detected: int = Field(default=64, ge=1)
    """Pairs of D_susp that are detected and unlearned (k of Eq. 2). The paper only calls them few."""
    token_level: bool = True
    """Whether detected captions lose their least relevant tokens and meet every detected image. Without, D_topk is
    unlearned as it is (the paper's ablation)."""
    kept_share: float = Field(default=0.5, gt=0, le=1)
    """Share of a caption's tokens that stay, rounded up: those that matter most for the similarity to its own image, in
    the model that is to unlearn."""
    relevancy_layers: Literal["last", "all"] = "last"
    """Layers of the text transformer that relevancy is computed over; the public code of Chefer et al. takes the last
    one."""
    max_pairs: int = Field(default=4096, ge=1)
    """Largest D_unlearn: of the k x k pairs of images and reduced captions, so many are drawn at random."""
    objective: Literal["paper", "floor", "squared"] = "paper"
    """What is minimized over D_unlearn. ``paper``: the mean of s (Eq. 3). ``floor``: the mean of max(s, floor).
    ``squared``: the mean of s², as in ABL."""
    floor: float | None = Field(default=None, ge=-1, lt=1)
    """Similarity below which a pair counts as unlearned, for ``objective: floor``."""
    safe_weight: float = Field(default=0.0, ge=0)
    """Weight of L_CLIP(D_safe) while unlearning, as Eq. 1 has it while overfitting; the paper's Eq. 3 has none."""
    unlearned: Literal["victim", "overfitted"] = "victim"
    """Which model unlearns; the paper does not tell."""

    @model_validator(mode="after")
    def _floor_is_used(self) -> Self:
        if (self.floor is None) == (self.objective == "floor"):
            raise ValueError(
                f"objective={self.objective} with floor={self.floor}: give floor with objective=floor only"
            )
        return self

    @property
    def epochs(self) -> int:
        return self.overfit_recipe.epochs + self.recipe.epochs

    def images(self, sizes: Sizes) -> int:
        scored = sizes.trained  # three models score them, and a pass forward is a third of one forward and backward
        overfitted = self.overfit_recipe.epochs * self._num_overfitted(sizes.trained)
        return scored + overfitted + self.recipe.epochs * self._num_unlearned(sizes.trained)

    def check(self, sizes: Sizes) -> None:
        trained = sizes.trained
        suspicious = self._num_suspicious(trained)
        said = f"{suspicious} suspicious ones ({self.suspicious_share:.2%} of {trained})"
        if self.num_detected > suspicious:
            raise ConfigError(
                f"defense.num_detected: {self.num_detected} pairs cannot be detected among {said}. Lower it, or raise "
                "suspicious_share."
            )
        if (self.num_safe or 0) > trained - suspicious:
            raise ConfigError(
                f"defense.num_safe: {self.num_safe} pairs were asked for, but beside {said} there are "
                f"{trained - suspicious}. Lower it, or give null for all."
            )
        if self.safe_weight and not self._num_safe(trained):
            raise ConfigError(
                f"defense.safe_weight: {self.safe_weight:g} weighs L_CLIP of safe pairs, but beside {said} none are "
                "taken. Set it to 0, raise num_safe, or lower suspicious_share."
            )
        for name, recipe, available in (
            ("overfit_recipe", self.overfit_recipe, self._num_overfitted(trained)),
            ("recipe", self.recipe, self._num_unlearned(trained)),
        ):
            if recipe.batch_size > available:
                raise ConfigError(
                    f"defense.{name}.batch_size: a batch of {recipe.batch_size} cannot be drawn from the {available} "
                    "pairs of this phase. Lower it, or take more pairs."
                )

    def run(self, model: "open_clip.CLIP", data: DefenderData, session: "Session") -> "History":
        import numpy as np

        from bdray.evaluation.detection import lowest, similarities, write_similarities
        from bdray.evaluation.two_stage import TwoStageDetection

        assert data.poisoned is not None and data.clean_model is not None
        given, number = data.poisoned, len(data.poisoned.pairs)
        tokens = session.tokens(given.pairs.captions, given.poisoning)
        clean, victim = similarities(data.clean_model(), given, tokens), similarities(model, given, tokens)
        suspicious = lowest(clean, self._num_suspicious(number))
        remaining = np.setdiff1d(np.arange(number), suspicious)
        safe = remaining[chosen_samples(len(remaining), self.num_safe, session.seed, SALT)]
        split = _Split(given, tokens, suspicious, safe)
        overfitted, history = self._overfit(model, split, session)
        scores = similarities(overfitted, given, tokens)
        detection = TwoStageDetection(clean, victim, scores, len(suspicious), self.num_detected)
        if session.folder is not None:
            write_similarities(session.folder, given, detection.columns)
        metrics = detection.metrics(given)
        telling = replace(session, evaluate=lambda *judged: {**session.evaluate(*judged), **metrics})
        if self.unlearned == "overfitted":
            model.load_state_dict(overfitted.state_dict())
        return self._unlearn(model, split, detection.detected, telling, history)

    def _overfit(
        self, model: "open_clip.CLIP", split: "_Split", session: "Session"
    ) -> "tuple[open_clip.CLIP, History]":
        """Equation 1, on a copy of the model."""
        import numpy as np
        import torch

        from bdray.losses import similarity_loss
        from bdray.training.split import SplitObjective
        from bdray.training.unlearning import stored_images

        given, chosen = split.given, np.sort(np.concatenate([split.suspicious, split.safe]))
        is_suspicious = torch.from_numpy(np.isin(chosen, split.suspicious)).to(session.device)
        objective = SplitObjective(is_suspicious, partial(similarity_loss, target=1.0), "overfit_loss")
        overfitted = copy.deepcopy(model)
        train = partial(session.train, overfitted, objective, self.overfit_recipe, phase="overfit")
        if len(chosen) == len(given.pairs):  # these need not be copied
            history = train(given.pairs.images, given.pairs.captions, poisoning=given.poisoning)
        else:
            history = train(stored_images(given, chosen), split.tokens[torch.from_numpy(chosen)])
        return overfitted, history

    def _unlearn(
        self, model: "open_clip.CLIP", split: "_Split", detected: "Positions", session: "Session", after: "History"
    ) -> "History":
        """Equation 3, with L_CLIP(D_safe) if it has a weight."""
        import numpy as np
        import torch

        from bdray.training.split import SplitObjective
        from bdray.training.unlearning import TokenLevel, stored_images

        given, tokens = split.given, split.tokens
        images, captions = np.arange(len(detected)), tokens[torch.from_numpy(detected)]
        if self.token_level:
            level = TokenLevel(self.kept_share, self.relevancy_layers, self.max_pairs)
            images, captions = level.pairs(model, given, tokens, detected, session.seed)
        safe = split.safe if self.safe_weight else split.safe[:0]
        is_unlearned = torch.arange(len(images) + len(safe), device=session.device) < len(images)
        return session.train(
            model,
            SplitObjective(is_unlearned, self._loss(), "unlearning_loss", self.safe_weight),
            self.recipe,
            np.concatenate([stored_images(given, detected)[images], stored_images(given, safe)]),
            torch.cat([captions, tokens[torch.from_numpy(safe)]]),
            phase="unlearn",
            after=after,
        )

    def _loss(self) -> "PairLoss":
        from bdray.losses import similarity_loss, unlearning_loss

        if self.objective == "squared":
            return partial(similarity_loss, target=0.0)
        return partial(unlearning_loss, floor=-1.0 if self.floor is None else self.floor)

    def _num_suspicious(self, num_trained: int) -> int:
        return max(1, round(self.suspicious_share * num_trained))

    def _num_safe(self, num_trained: int) -> int:
        return num_trained - self._num_suspicious(num_trained) if self.num_safe is None else self.num_safe

    def _num_overfitted(self, num_trained: int) -> int:
        return self._num_suspicious(num_trained) + self._num_safe(num_trained)

    def _num_unlearned(self, num_trained: int) -> int:
        pairs = min(self.num_detected**2, self.max_pairs) if self.token_level else self.num_detected
        return pairs + (self._num_safe(num_trained) if self.safe_weight else 0)


@dataclass(frozen=True)
class _Split:
    """The training set as the clean model divides it."""

    given: PoisonedSet
    tokens: "Tensor"
    """Of all captions as the victim saw them, integers [N, L]."""
    suspicious: "Positions"
    """D_susp."""
    safe: "Positions"
    """What is trained on of D_safe."""
