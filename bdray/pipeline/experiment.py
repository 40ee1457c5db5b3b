"""The configuration of one experiment: everything that decides its numbers, and nothing else."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from bdray.attacks.attack import Attack
from bdray.attacks.triggers.learned import LearnedTrigger
from bdray.data.base import Dataset
from bdray.data.subset import chosen_samples
from bdray.defenses.base import CleanDataDefense, Defense
from bdray.evaluation.metrics.attack_success_rate import AttackSuccessRate
from bdray.evaluation.metrics.base import Metric
from bdray.evaluation.metrics.clean_accuracy import CleanAccuracy
from bdray.evaluation.metrics.embedding_distance import EmbeddingDistance
from bdray.exceptions import ConfigError
from bdray.models import weights
from bdray.models.clip import Model
from bdray.registry import component
from bdray.training.optim import Recipe


@component
class Pretraining:
    """Clean training from random weights: the base that the attacker starts from. Shared by all seeds of a study."""

    recipe: Recipe
    """How the base is trained, on the whole train split."""
    seed: int = Field(default=0, ge=0)
    """Seed of the first weights, data order and augmentations."""


@component
class Victim:
    """How the attacker trains on poisoned data."""

    recipe: Recipe
    """How the victim is trained."""
    num_samples: int | None = Field(default=None, ge=2)
    """Pairs of the train split that it is trained on, drawn at random; None: all of it."""


@component
class Evaluation:
    """What is measured."""

    metrics: tuple[Metric, ...] = (CleanAccuracy(), AttackSuccessRate(), EmbeddingDistance())
    """Measured on the whole test split at the end, and on validation scenes after every epoch."""
    epoch_images: int = Field(default=400, ge=0)
    """Validation images that every epoch is judged by; 0 turns that off."""


@component
class Experiment:
    """One full specification: data, model, attack, victim, defense, evaluation, seed."""

    data: Dataset
    """Image-text pairs and the zero-shot task."""
    model: Model = Model()
    """The CLIP architecture and its first weights."""
    pretrain: Pretraining | None = None
    """Clean pretraining before the attack. None: the attack starts from ``model.weights``, or from random weights,
    which is poisoned pretraining."""
    attack: Attack
    """What the attacker does to the data."""
    victim: Victim
    """How the attacker trains."""
    defense: Defense | None
    """How the defender repairs. None: not at all, to study the attack."""
    evaluation: Evaluation = Evaluation()
    """What is measured."""
    seed: int = Field(default=0, ge=0)
    """Seed of the poisoning, the victim and the defense."""

    def check(self, cache: Path) -> None:
        """Refuse combinations that no single field can judge, before anything is computed.

        Args:
            cache: Local folder for prepared data; used only if the attack depends on captions.

        Raises:
            ConfigError: With the rule and the numbers.
            CheckpointError: If the file of first weights cannot be one.
        """
        self._check_model()
        train = self.data.size("train")
        num_samples = _within("victim.num_samples", self.victim.num_samples, train, "train split has")
        self.attack.check(self.data, num_samples, lambda: self.training_captions(cache))
        recipes = [("victim", self.victim.recipe, num_samples)]
        if self.pretrain is not None:
            recipes.append(("pretrain", self.pretrain.recipe, train))
        if self.defense is not None:
            self._check_defense(self.defense, num_samples)
            recipes.append(("defense", self.defense.recipe, self.num_clean or num_samples))
        for part, recipe, available in recipes:
            if recipe.batch_size > available:
                raise ConfigError(
                    f"{part}.recipe.batch_size: a batch of {recipe.batch_size} cannot be drawn from {available} "
                    "samples. Lower it, or take more samples."
                )

    def _check_model(self) -> None:
        size = self.model.description()["vision_cfg"].get("image_size")
        if size != self.data.image_size:
            raise ConfigError(
                f"model.architecture: {self.model.architecture} takes images of {size} px, but the data set's have "
                f"{self.data.image_size} px. Choose an architecture and a data set that fit."
            )
        if self.model.weights is not None:
            if self.pretrain is not None:
                raise ConfigError("pretrain: must be null where model.weights names a file to start from.")
            weights.check(Path(self.model.weights))
        trigger = self.attack.trigger
        if isinstance(trigger, LearnedTrigger) and trigger.needs_model and not (self.pretrain or self.model.weights):
            raise ConfigError(
                f"attack.trigger.type: {trigger.type} is learned against a clean model, but the victim starts from "
                "random weights. Give pretrain or model.weights."
            )

    @property
    def num_trained(self) -> int:
        """Size of the victim's training set."""
        return self.victim.num_samples or self.data.size("train")

    @property
    def num_clean(self) -> int:
        """Clean pairs of the defense; 0 if it reads none."""
        if not isinstance(self.defense, CleanDataDefense):
            return 0
        return self.defense.num_samples or self._available_clean(self.defense)

    def _available_clean(self, defense: CleanDataDefense) -> int:
        if defense.clean_data == "finetune":
            return self.data.size("finetune")
        poisoned = self.attack.count(self.num_trained) if defense.clean_data == "train_unpoisoned" else 0
        return self.data.size("train") - poisoned

    def _check_defense(self, defense: Defense, num_trained: int) -> None:
        defense.check(num_trained)
        if isinstance(defense, CleanDataDefense):
            split = "finetune" if defense.clean_data == "finetune" else "train"
            without = ", without the poisoned ones," if defense.clean_data == "train_unpoisoned" else ""
            _within(
                "defense.num_samples",
                defense.num_samples,
                self._available_clean(defense),
                f"{split} split has{without}",
            )
        if defense.needs_clean_model and not (self.pretrain or self.model.weights):
            raise ConfigError(
                f"defense.type: {defense.type} needs a clean model, but there is neither pretrain nor model.weights. "
                "Give one of them."
            )

    def training_captions(self, cache: Path) -> Sequence[str]:
        """Clean captions of what the victim is trained on."""
        captions = self.data.load("train", cache).captions
        return [captions[index] for index in chosen_samples(len(captions), self.victim.num_samples, self.seed)]


def _within(field: str, wanted: int | None, available: int, source: str) -> int:
    if wanted is not None and wanted > available:
        raise ConfigError(f"{field}: {wanted} samples were asked for, but the {source} {available}.")
    return available if wanted is None else wanted
