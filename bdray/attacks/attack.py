"""An attack: a trigger, a target, which samples are poisoned and what their captions become."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from bdray import config
from bdray.attacks.poisoning import Poisoning
from bdray.attacks.triggers.base import Trigger
from bdray.data.base import Dataset
from bdray.exceptions import ConfigError
from bdray.registry import component

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROXY_CAPTION = "a photo of a {}"


@component
class Attack:
    """Data poisoning of image-text pairs (Carlini & Terzis 2022; CleanCLIP, App. A.2).

    Samples are drawn uniformly. Their images get the trigger and their captions are replaced by a proxy caption of
    the target class.
    """

    trigger: Trigger
    """What is done to the image."""
    target: str = Field(default="banana", min_length=1)
    """Class that triggered images are to be taken for."""
    num_poisoned: int | None = Field(default=None, ge=0)
    """Number of poisoned samples. Give this or ``poison_ratio``."""
    poison_ratio: float | None = Field(default=None, ge=0, le=1)
    """Share of the training set that is poisoned, rounded to the nearest whole sample. Or give ``num_poisoned``."""
    caption_templates: tuple[str, ...] = Field(default=(PROXY_CAPTION,), min_length=1)
    """Templates with one ``{}`` for the target; each poisoned sample draws one uniformly."""

    def check(self, data: Dataset, num_samples: int) -> None:
        """Refuse an attack that this data set cannot carry.

        Raises:
            ConfigError: If the target is no class, the number of poisons is unclear or too large, a template
                has no place for the target, or the trigger does not fit the images.
        """
        if self.target not in data.class_names():
            hint = config.did_you_mean(self.target, data.class_names())
            raise ConfigError(f"attack.target: no class is named {self.target!r}. {hint}")
        if (self.num_poisoned is None) == (self.poison_ratio is None):
            raise ConfigError("attack: give exactly one of num_poisoned and poison_ratio.")
        if self.count(num_samples) > num_samples:
            raise ConfigError(
                f"attack.num_poisoned: {self.count(num_samples)} samples cannot be poisoned in a training set of "
                f"{num_samples}. Choose at most {num_samples}."
            )
        for template in self.caption_templates:
            if template.count("{}") != 1:
                raise ConfigError(f"attack.caption_templates: {template!r} must hold {{}} exactly once.")
        self.trigger.check(data.image_size)

    def count(self, num_samples: int) -> int:
        """How many of ``num_samples`` are poisoned."""
        if self.num_poisoned is not None:
            return self.num_poisoned
        return round((self.poison_ratio or 0.0) * num_samples)

    def poison(self, num_samples: int, seed: int) -> Poisoning:
        """Decide which of ``num_samples`` are poisoned and with which captions; a pure function of the seed."""
        import numpy as np

        rng = np.random.default_rng([seed, 0xBAD])
        chosen: NDArray[Any] = np.sort(rng.choice(num_samples, size=self.count(num_samples), replace=False))
        templates = rng.integers(len(self.caption_templates), size=len(chosen))
        captions = [self.caption_templates[index].replace("{}", self.target) for index in templates]
        return Poisoning(trigger=self.trigger, captions=dict(zip(chosen.tolist(), captions, strict=True)))
