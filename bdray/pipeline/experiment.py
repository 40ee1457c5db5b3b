"""The configuration of one experiment: everything that decides its numbers, and nothing else."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, field_validator

from bdray.attacks.attack import Attack
from bdray.attacks.triggers.learned import LearnedTrigger
from bdray.data.base import Dataset
from bdray.data.subset import chosen_samples
from bdray.defenses.base import CleanDataDefense, Defense, Sizes
from bdray.evaluation.metrics.attack_success_rate import AttackSuccessRate
from bdray.evaluation.metrics.base import Metric
from bdray.evaluation.metrics.clean_accuracy import CleanAccuracy
from bdray.evaluation.metrics.embedding_distance import EmbeddingDistance
from bdray.exceptions import ConfigError
from bdray.models.clip import Model
from bdray.pipeline.victims.base import Victim
from bdray.pipeline.victims.given import GivenVictim
from bdray.pipeline.victims.trained import TrainedVictim
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
class Evaluation:
    """What is measured."""

    metrics: tuple[Metric, ...] = (CleanAccuracy(), AttackSuccessRate(), EmbeddingDistance())
    """Measured on the whole test split at the end, and on validation scenes after every epoch."""
    epoch_images: int = Field(default=400, ge=0)
    """Validation images that every epoch is judged by; 0 turns that off."""

    @field_validator("metrics")
    @classmethod
    def _names_differ(cls, value: tuple[Metric, ...]) -> tuple[Metric, ...]:
        counts = Counter(name for metric in value for name in metric.names)
        name, count = next(iter(counts.most_common(1)), ("", 0))
        if count > 1:
            raise ValueError(f"{count} of them measure {name}, of which one would be kept; leave one")
        return value


@component
class Experiment:
    """One full specification: data, model, attack, victim, defense, evaluation, seed."""

    data: Dataset
    """Image-text pairs and the zero-shot task."""
    model: Model = Model()
    """The CLIP architecture and its first weights."""
    pretrain: Pretraining | None = None
    """Clean pretraining before the attack. None: the attack starts from the model's own first weights; where these
    are random, that is poisoned pretraining."""
    attack: Attack
    """What the attacker does to the data."""
    victim: Victim
    """How the attacker trains, or a victim that was trained elsewhere."""
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
        self._check_poisoned_set()
        train = self.data.size("train")
        num_samples = _within("victim.num_samples", self.victim.num_samples, train, "train split has")
        self.attack.check(self.data, num_samples, lambda: self.training_captions(cache))
        recipes = []
        if isinstance(self.victim, TrainedVictim):
            recipes.append(("victim", self.victim.recipe, num_samples))
        if self.pretrain is not None:
            recipes.append(("pretrain", self.pretrain.recipe, train))
        if self.defense is not None:
            self._check_defense(self.defense)
            recipes.append(("defense", self.defense.recipe, self.num_clean or num_samples))
        for part, recipe, available in recipes:
            if recipe.batch_size > available:
                raise ConfigError(
                    f"{part}.recipe.batch_size: a batch of {recipe.batch_size} cannot be drawn from {available} "
                    "samples. Lower it, or take more samples."
                )
        for metric in self.evaluation.metrics:
            metric.check(self.data, cache)

    def check_readable(self) -> None:
        """Refuse data that are not here, its own and those of metrics, before anything is computed.

        Raises:
            DataError: With the field, the place and what to do.
        """
        self.data.check_readable()
        for index, metric in enumerate(self.evaluation.metrics):
            for task in metric.tasks:
                task.check_readable(f"evaluation.metrics.{index}.task")

    def _check_model(self) -> None:
        size = self.model.description()["vision_cfg"].get("image_size")
        if size != self.data.image_size:
            raise ConfigError(
                f"model.architecture: {self.model.architecture} takes images of {size} px, but the data set's have "
                f"{self.data.image_size} px. Choose an architecture and a data set that fit."
            )
        if self.model.has_weights and self.pretrain is not None:
            named = "model.weights names a file" if self.model.weights else "model.pretrained names weights"
            raise ConfigError(f"pretrain: must be null where {named} to start from.")
        self.model.check()
        if isinstance(self.victim, GivenVictim):
            self.model.check_fits(self.victim.weights)
        trigger = self.attack.trigger
        if isinstance(trigger, LearnedTrigger) and trigger.needs_model and not self._has_base:
            raise ConfigError(
                f"attack.trigger.type: {trigger.type} is learned against a clean model, but the victim starts from "
                "random weights. Give pretrain, model.weights or model.pretrained."
            )

    def _check_poisoned_set(self) -> None:
        """Refuse what reads the poisoned set, or its clean part, where nobody knows it."""
        if self.victim.knows_poisoned_set:
            return
        readers = [("metric", metric.type) for metric in self.evaluation.metrics if metric.reads_poisoned]
        if self.defense is not None and self.defense.reads_poisoned:
            readers.append(("defense", self.defense.type))
        if isinstance(self.defense, CleanDataDefense) and self.defense.clean_data == "train_unpoisoned":
            readers.append(("defense", f"{self.defense.type} with clean_data=train_unpoisoned"))
        for part, name in readers:
            raise ConfigError(
                f"victim.poisoned_set: the {part} {name} reads what the victim was trained on, which is unknown. If "
                "the experiment's data and attack describe it, set victim.poisoned_set=attack; else leave it out."
            )

    @property
    def _has_base(self) -> bool:
        """Whether the attack starts from a model that learned something."""
        return self.pretrain is not None or self.model.has_weights

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

    @property
    def defense_sizes(self) -> Sizes:
        """What the defense has to work with."""
        return Sizes(trained=self.num_trained, clean=self.num_clean, classes=len(self.data.class_names()))

    def _available_clean(self, defense: CleanDataDefense) -> int:
        if defense.clean_data == "finetune":
            return self.data.size("finetune")
        poisoned = self.attack.count(self.num_trained) if defense.clean_data == "train_unpoisoned" else 0
        return self.data.size("train") - poisoned

    def _check_defense(self, defense: Defense) -> None:
        if isinstance(defense, CleanDataDefense):
            split = "finetune" if defense.clean_data == "finetune" else "train"
            without = ", without the poisoned ones," if defense.clean_data == "train_unpoisoned" else ""
            _within(
                "defense.num_samples",
                defense.num_samples,
                self._available_clean(defense),
                f"{split} split has{without}",
            )
        defense.check(self.defense_sizes)
        if defense.needs_clean_model and not self._has_base:
            raise ConfigError(
                f"defense.type: {defense.type} needs a clean model, but there is neither pretrain nor model.weights "
                "nor model.pretrained. Give one of them."
            )

    def training_captions(self, cache: Path) -> Sequence[str] | None:
        """Clean captions of what the victim is trained on; None where that would take a long preparation."""
        captions = self.data.known_captions("train", cache)
        if captions is None:
            return None
        return [captions[index] for index in chosen_samples(len(captions), self.victim.num_samples, self.seed)]


def _within(field: str, wanted: int | None, available: int, source: str) -> int:
    if wanted is not None and wanted > available:
        raise ConfigError(f"{field}: {wanted} samples were asked for, but the {source} {available}.")
    return available if wanted is None else wanted
