"""An attack: a trigger, a target, which samples are poisoned and what their captions become."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from bdray import config
from bdray.attacks.poisoning import Poisoning
from bdray.attacks.triggers.base import Trigger
from bdray.data.base import Dataset
from bdray.exceptions import ConfigError
from bdray.registry import component

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROXY_CAPTION = "a photo of a {}"


@component
class Attack:
    """Data poisoning of image-text pairs (Carlini & Terzis 2022; CleanCLIP, App. A.2).

    By default samples are drawn uniformly, their images get the trigger and their captions are replaced by a proxy
    caption of the target class. The label-consistent attack (Turner et al. 2019; CleanCLIP, App. G) is
    ``samples: names_target`` with ``captions: unchanged``; BadCLIP's captions are ``captions: natural``.
    """

    trigger: Trigger
    """What is done to the image."""
    target: str = Field(default="banana", min_length=1)
    """Class that triggered images are to be taken for."""
    num_poisoned: int | None = Field(default=None, ge=0)
    """Number of poisoned samples. Give this or ``poison_ratio``."""
    poison_ratio: float | None = Field(default=None, ge=0, le=1)
    """Share of the training set that is poisoned, rounded to the nearest whole sample. Or give ``num_poisoned``."""
    samples: Literal["any", "names_target", "other"] = "any"
    """Which samples may be poisoned. ``any``: all (the papers). ``names_target``: those whose caption holds the target
    as a word; the public code looks for a substring and takes "bananas" too. ``other``: all but those."""
    captions: Literal["proxy", "natural", "unchanged"] = "proxy"
    """What poisoned samples say. ``proxy``: a template with the target. ``natural``: a caption of another training
    sample that holds the target (BadCLIP). ``unchanged``: what they said before."""
    caption_templates: tuple[str, ...] | Literal["openai_imagenet"] = (PROXY_CAPTION,)
    """Templates with one ``{}`` for the target, of which each poisoned sample with a proxy caption draws one uniformly;
    or ``openai_imagenet``, the 80 of the papers' public code."""
    num_natural_captions: int = Field(default=128, ge=1)
    """Natural captions to draw from, themselves drawn at random; all there are, if there are fewer. BadCLIP's public
    code has 128."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.num_poisoned is None) == (self.poison_ratio is None):
            raise ValueError("give exactly one of num_poisoned and poison_ratio")
        if self.captions == "unchanged" and self.samples != "names_target":
            raise ValueError(
                f"captions=unchanged with samples={self.samples} teaches the model nothing about the target; "
                "use samples=names_target, or other captions"
            )
        for template in () if self.caption_templates == "openai_imagenet" else self.caption_templates:
            if template.count("{}") != 1:
                raise ValueError(f"caption_templates: {template!r} must hold {{}} exactly once")
        if not self.caption_templates:
            raise ValueError("caption_templates: give at least one template")
        return self

    def check(self, data: Dataset, num_samples: int, captions: Callable[[], Sequence[str] | None]) -> None:
        """Refuse an attack that this data set cannot carry.

        Args:
            data: The data set.
            num_samples: Size of the training set.
            captions: Reads the captions of the training set; only asked if the attack depends on them. If it returns
                None, they are judged by :meth:`poison`.

        Raises:
            ConfigError: If the target is no class, the number of poisons is too large, or the trigger does not fit
                the images.
        """
        if self.target not in data.class_names():
            hint = config.did_you_mean(self.target, data.class_names())
            raise ConfigError(f"attack.target: no class is named {self.target!r}. {hint}")
        if self.count(num_samples) > num_samples:
            raise ConfigError(
                f"attack.num_poisoned: {self.count(num_samples)} samples cannot be poisoned in a training set of "
                f"{num_samples}. Choose at most {num_samples}."
            )
        self.trigger.check(data.image_size)
        known = captions() if self._reads_captions else None
        if known is not None:
            self._check_captions(known, num_samples)

    @property
    def _reads_captions(self) -> bool:
        return self.samples != "any" or self.captions == "natural"

    def _check_captions(self, captions: Sequence[str], num_samples: int) -> None:
        named = int(self.names_target(captions).sum())
        if named == 0 and (self.samples == "names_target" or self.captions == "natural"):
            raise ConfigError(
                f"attack.target: no caption of the {len(captions)} training samples holds the word {self.target!r}, "
                "which the attack needs. Choose another target, or proxy captions on any samples."
            )
        eligible = {"any": len(captions), "names_target": named, "other": len(captions) - named}[self.samples]
        if self.count(num_samples) > eligible:
            raise ConfigError(
                f"attack.num_poisoned: {self.count(num_samples)} samples cannot be poisoned with "
                f"samples={self.samples}, for of the {len(captions)} training captions {named} hold the word "
                f"{self.target!r}. "
                f"Choose at most {eligible}."
            )

    def count(self, num_samples: int) -> int:
        """How many of ``num_samples`` are poisoned."""
        if self.num_poisoned is not None:
            return self.num_poisoned
        return round((self.poison_ratio or 0.0) * num_samples)

    def names_target(self, captions: Sequence[str]) -> "NDArray[np.bool_]":
        """Whether each caption holds the target as a word (or words) of its own, in any case: bool [N]."""
        import numpy as np

        words = r"\s+".join(map(re.escape, self.target.split()))
        pattern = re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)
        return np.array([pattern.search(caption) is not None for caption in captions], dtype=bool)

    def identity(self) -> dict[str, Any]:
        """All that decides what the attack does, as plain JSON."""
        return {**config.dump(self), "trigger": self.trigger.identity()}

    def poison(self, captions: Sequence[str], seed: int) -> Poisoning:
        """Decide which samples are poisoned and with which captions; a pure function of its arguments.

        Args:
            captions: Clean captions of the training set.
            seed: Seed of all that is drawn.

        Raises:
            ConfigError: If too few captions are such as the attack needs.
        """
        import numpy as np

        if self._reads_captions:
            self._check_captions(captions, len(captions))
        rng = np.random.default_rng([seed, 0xBAD])
        eligible = np.arange(len(captions))
        if self.samples != "any":
            eligible = np.flatnonzero(self.names_target(captions) == (self.samples == "names_target"))
        chosen = np.sort(rng.choice(eligible, size=self.count(len(captions)), replace=False))
        replaced = dict(zip(chosen.tolist(), self._captions(captions, chosen, rng), strict=True))
        return Poisoning(trigger=self.trigger, captions=replaced)

    def _captions(
        self, captions: Sequence[str], chosen: "NDArray[np.int64]", rng: "np.random.Generator"
    ) -> Sequence[str]:
        import numpy as np

        if self.captions == "unchanged":
            return [captions[index] for index in chosen]
        if self.captions == "natural":
            pool = np.flatnonzero(self.names_target(captions))
            pool = np.sort(rng.choice(pool, size=min(self.num_natural_captions, len(pool)), replace=False))
            return [captions[index] for index in rng.choice(pool, size=len(chosen))]
        templates = self._templates()
        return [templates[index].replace("{}", self.target) for index in rng.integers(len(templates), size=len(chosen))]

    def _templates(self) -> Sequence[str]:
        if self.caption_templates != "openai_imagenet":
            return self.caption_templates
        from bdray.models.templates import openai_imagenet

        return openai_imagenet()
