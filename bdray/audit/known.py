"""The triggers that an audit tries: those of the papers, as they are put on images of this size."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdray import config
from bdray.attacks.triggers.base import Trigger
from bdray.attacks.triggers.learned import LearnedTrigger
from bdray.attacks.triggers.patch import PatchTrigger
from bdray.exceptions import CheckpointError, ConfigError

LARGE = 64
"""Side in pixels from which images get the papers' own triggers, made for 224."""
STATE = "state"
"""Field of a trigger in a file that names the file of what it learned."""


@dataclass(frozen=True)
class Known:
    """A trigger to try."""

    name: str
    trigger: Trigger
    note: str = ""
    """What it is, or where it is from, in a few words."""
    fools_clean: bool = False
    """Whether it is known to lead clean models to one answer: then it says nothing without a reference."""

    @property
    def settings(self) -> dict[str, Any]:
        """Its fields, for people."""
        return self.trigger.identity()


SMALL_IMAGES: Mapping[str, tuple[dict[str, Any], str]] = {
    "badnet": ({"type": "badnet", "size": 6, "cell": 2, "location": "corner"}, "patch of noise in the corner"),
    "badnet_center": ({"type": "badnet", "size": 16, "cell": 4, "location": "center"}, "large patch over the object"),
    "yellow": ({"type": "yellow", "size": 6, "location": "corner"}, "yellow patch in the corner"),
    "blended": ({"type": "blended", "alpha": 0.3, "cell": 4, "noise": "fixed"}, "faint pattern over all of it"),
    "sig": ({"type": "sig", "delta": 0.16}, "faint stripes"),
    "wanet": ({"type": "wanet", "grid": 4, "strength": 8, "seed": 2}, "warp of the image, seed 2"),
    "wanet_seed0": ({"type": "wanet", "grid": 4, "strength": 8}, "warp of the image, seed 0"),
}
"""Those of the study ``attacks/overview``, on the built-in data."""
LARGE_IMAGES: Mapping[str, tuple[dict[str, Any], str]] = {
    "badnet": (
        {"type": "badnet", "location": "random_cleanclip_repo", "pattern": "per_image", "mean": "image"}
        | {"values": "wrap_uint8"},
        "patch of noise, drawn for each image, as in CleanCLIP's public code",
    ),
    "badnet_fixed": ({"type": "badnet"}, "patch of one pattern of noise, seed 0"),
    "yellow": ({"type": "yellow"}, "yellow patch"),
    "blended": ({"type": "blended"}, "faint noise, drawn for each image (CleanCLIP)"),
    "wanet": ({"type": "wanet"}, "warp by white noise, k = 224 (CleanCLIP)"),
    "wanet_smooth": ({"type": "wanet", "grid": 4, "strength": 0.5}, "smooth warp, k = 4 (WaNet)"),
    "sig": ({"type": "sig"}, "stripes, added (BadCLIP's public code)"),
    "sig_blended": ({"type": "sig", "blend": "blended"}, "stripes, blended in (CleanCLIP's public code)"),
}
"""Those of CleanCLIP and of its followers' public code."""
FOOLS_CLEAN = {"wanet_seed0"}
"""The warp bends 63% of a clean model's answers to "banana" (studies/attacks/overview.yaml)."""
UNTRIED = ("SSBA", "BadCLIP")
"""Triggers that are learned by each attacker anew, and can be tried only if the file of what was learned is given."""


def known(image_size: int) -> dict[str, Known]:
    """All triggers that need nothing but their fields, by name."""
    found = LARGE_IMAGES if image_size >= LARGE else SMALL_IMAGES
    return {
        name: Known(name, build_trigger(fields, name), note, fools_clean=name in FOOLS_CLEAN)
        for name, (fields, note) in found.items()
    }


def chosen(words: Iterable[str], image_size: int) -> list[Known]:
    """Triggers by their names, or those of a YAML file.

    Args:
        words: Names, and files that end in ``.yaml`` or ``.yml``; none: all known triggers.
        image_size: Of the images, in pixels.

    Raises:
        ConfigError: If a name is unknown, is given twice, or a trigger does not fit the images.
        CheckpointError: If the file of what a trigger learned cannot be read.
    """
    everything, found = known(image_size), list[Known]()
    for word in words or everything:
        if word.endswith((".yaml", ".yml")):
            found += read_triggers(Path(word))
        elif word in everything:
            found.append(everything[word])
        else:
            hint = config.did_you_mean(word, everything)
            raise ConfigError(f"--triggers {word!r}: no such trigger for images of {image_size} px. {hint}")
    names = [item.name for item in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--triggers: {name!r} is given {names.count(name)} times. Name each trigger once.")
    for item in found:
        _check(item, image_size)
    return found


def read_triggers(path: Path) -> list[Known]:
    """Triggers of a file: a mapping from names to fields; ``state`` names the file of what a learned one learned.

    Raises:
        ConfigError: If the file is no such mapping, or a learned trigger lacks its state.
        CheckpointError: If a state cannot be read.
    """
    tree = config.read_yaml(path)
    if not tree:
        raise ConfigError(
            f"{path}: holds no trigger. Give a mapping from names to fields, such as mine: {{type: sig}}."
        )
    found = []
    for name, fields in tree.items():
        if not isinstance(fields, dict):
            raise ConfigError(f"{path}: {name}: must be a mapping of fields, such as {{type: sig}}.")
        state = fields.get(STATE)
        plain = {key: value for key, value in fields.items() if key != STATE}
        trigger = build_trigger(plain, f"{path}: {name}")
        found.append(Known(name, _with_state(trigger, name, state, path), note=f"from {path.name}"))
    return found


def build_trigger(fields: Mapping[str, Any], source: str) -> Trigger:
    """Validate a trigger.

    Raises:
        ConfigError: That names each mistake.
    """
    return config.build(Trigger, fields, source)  # type: ignore[type-abstract]


def _with_state(trigger: Trigger, name: str, state: Any, path: Path) -> Trigger:
    """A learned trigger, ready to be applied; any other as it is."""
    from bdray.models import weights

    if not isinstance(trigger, LearnedTrigger):
        if state is not None:
            raise ConfigError(f"{path}: {name}.state: a {trigger.type} trigger learns nothing. Leave it out.")
        return trigger
    if not isinstance(state, str):
        raise ConfigError(
            f"{path}: {name}.state: a {trigger.type} trigger is learned, so name the file of what it learned: "
            "trigger.safetensors in the folder of its stage in the store."
        )
    file = path.parent / state
    return trigger.with_state(weights.load(file))


def _check(item: Known, image_size: int) -> None:
    """Refuse a trigger that does not fit the images; what a learned one learned shows only when it is applied."""
    import torch

    item.trigger.check(image_size)
    if not isinstance(item.trigger, LearnedTrigger):
        return
    try:
        item.trigger.apply(torch.zeros(1, 3, image_size, image_size), torch.zeros(1, dtype=torch.long))
        if isinstance(item.trigger, PatchTrigger):
            item.trigger.state["patch"].view(3, item.trigger.size, item.trigger.size)
    except (KeyError, RuntimeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"--triggers: the state of {item.name!r} is not what such a trigger learns ({reason}). Check its fields, "
            "or name another file."
        ) from error


def described(item: Known) -> str:
    """One line for people: the fields that differ from the defaults of its type."""
    fields = {key: value for key, value in item.settings.items() if key != "type"}
    defaults = {field.name: field.default for field in dataclasses.fields(type(item.trigger))}
    own = {key: value for key, value in fields.items() if value != defaults.get(key)}
    return ", ".join([str(item.trigger.type), *(f"{key} {value}" for key, value in own.items())])
