"""What goes into an exported set: the victim's training set and everything that was decided about it."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdray import config
from bdray.attacks.poisoned_set import PoisonedSet
from bdray.attacks.triggers.learned import LearnedTrigger
from bdray.exceptions import ConfigError
from bdray.export.captions import Row
from bdray.export.folder import image_name
from bdray.export.images import quantized
from bdray.export.index import Index, PoisonedSample
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.provenance import provenance
from bdray.pipeline.stages.victim import decided_set

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bdray.attacks.triggers.base import Trigger


def decided(experiment: Experiment, cache: Path) -> PoisonedSet:
    """The victim's training set and what the attacker decided, before any trigger is learned.

    Raises:
        ConfigError: If the data set cannot carry the attack; nothing else of the experiment is looked at.
    """
    available, wanted = experiment.data.size("train"), experiment.victim.num_samples
    if wanted is not None and wanted > available:
        raise ConfigError(f"victim.num_samples: {wanted} were asked for, but the train split has {available}.")
    experiment.attack.check(experiment.data, experiment.num_trained, lambda: experiment.training_captions(cache))
    return decided_set(experiment, cache)


@dataclass(frozen=True)
class Contents:
    """What goes into a folder."""

    experiment: Experiment
    given: PoisonedSet
    """With the trigger as it is configured."""
    only_poisoned: bool
    """Leave out the clean samples."""

    @property
    def positions(self) -> list[int]:
        """The exported samples, by their index in the victim's training set."""
        return sorted(self.given.poisoning.captions) if self.only_poisoned else list(range(len(self.given.pairs)))

    @property
    def image_names(self) -> list[str]:
        """The image files, in this order."""
        return [image_name(int(self.given.samples[position])) for position in self.positions]

    def rows(self) -> Iterator[Row]:
        """The file of captions."""
        pairs, captions = self.given.pairs, self.given.poisoning.captions
        for position, name in zip(self.positions, self.image_names, strict=True):
            sample, original = int(self.given.samples[position]), pairs.captions[position]
            is_poisoned, label = position in captions, int(pairs.labels[position])
            yield Row(name, captions.get(position, original), sample, is_poisoned, original, label)

    def images(self, trigger: "Trigger") -> "Iterator[NDArray[np.uint8]]":
        """The pixels of every image, uint8 [3, H, W].

        A trigger is applied to one image at a time, so that no last bit depends on what else is exported.

        Args:
            trigger: The experiment's, ready to be applied.
        """
        import torch

        poisoning = dataclasses.replace(self.given.poisoning, trigger=trigger)
        for position in self.positions:
            pixels = self.given.pairs.images[position]
            if position in poisoning.captions:
                image = torch.tensor(pixels)[None].float() / 255
                pixels = quantized(poisoning.apply(image, torch.tensor([position])))[0]
            yield pixels

    def poisoned(self) -> tuple[PoisonedSample, ...]:
        """Every decision, in the order of the train split."""
        given, trigger = self.given, self.experiment.attack.trigger
        return tuple(
            PoisonedSample(
                sample=int(given.samples[position]),
                position=position,
                original_caption=given.pairs.captions[position],
                caption=given.poisoning.captions[position],
                trigger=trigger.type,
                trigger_seed=trigger.seed,
                trigger_sample=position,
            )
            for position in sorted(given.poisoning.captions)
        )

    def index(self, images: Mapping[str, str], captions_sha256: str, trigger_sha256: str | None) -> Index:
        """The index of a folder with these hashes."""
        experiment = self.experiment
        return Index(
            experiment=config.dump(experiment),
            seed=experiment.seed,
            data_fingerprint=experiment.data.fingerprint("train"),
            image_size=experiment.data.image_size,
            num_samples=len(self.given.pairs),
            only_poisoned=self.only_poisoned,
            software=software(),
            trigger=experiment.attack.trigger.identity(),
            trigger_sha256=trigger_sha256,
            captions_sha256=captions_sha256,
            poisoned=self.poisoned(),
            images=dict(images),
        )


def software() -> dict[str, Any]:
    """What makes the files; other instructions of a CPU may round the last bit of a float in another way."""
    import torch

    return {**provenance(), "cpu": torch.backends.cpu.get_cpu_capability()}


def with_state_of(trigger: "Trigger", file: Path | None) -> "Trigger":
    """The trigger, ready to be applied.

    Args:
        trigger: As it is configured.
        file: What it has learned; None for a trigger that does not learn.
    """
    from bdray.models import weights

    if file is None:
        return trigger
    assert isinstance(trigger, LearnedTrigger)
    return trigger.with_state(weights.load(file))
