"""For tests, ours and those of your own components: tiny models and data, and an example of every component."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from bdray import config
from bdray.data.scenes import Scenes
from bdray.models.clip import ARCHITECTURES
from bdray.registry import Component
from bdray.training.optim import Recipe

if TYPE_CHECKING:
    import open_clip

    from bdray.attacks.triggers.base import Trigger
    from bdray.attacks.triggers.learned import Lesson
    from bdray.models.tokenizer import CompactTokenizer

Tower = Literal["resnet", "vit"]
TOWERS: Mapping[Tower, Mapping[str, Any]] = {
    "resnet": {"layers": [1, 1, 1, 1], "width": 4, "patch_size": None},
    "vit": {"layers": 1, "width": 16, "head_width": 8, "patch_size": 16, "mlp_ratio": 2.0},
}
"""Image towers of the tiny model: with batch normalization and without."""
CONTEXT_LENGTH, VOCABULARY = 16, ARCHITECTURES / "scenes_vocabulary.txt"


def tiny_scenes(**fields: Any) -> Scenes:
    """The smallest built-in data set."""
    return Scenes(**({"num_train": 64, "num_finetune": 64, "num_validation": 16, "num_test": 16} | fields))


def tiny_recipe(**fields: Any) -> Recipe:
    """Two epochs, at a learning rate that moves every weight."""
    return Recipe(**({"epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "warmup_steps": 2} | fields))


def tiny_tokenizer() -> "CompactTokenizer":
    """The tokenizer of the tiny model."""
    from bdray.models.tokenizer import CompactTokenizer

    return CompactTokenizer.from_file(VOCABULARY, CONTEXT_LENGTH)


def tiny_model(tower: Tower = "resnet", seed: int = 0, image_size: int = 32) -> "open_clip.CLIP":
    """A CLIP of some thousand parameters, laid out in memory as training stages have it."""
    import open_clip
    import torch

    text = {"context_length": CONTEXT_LENGTH, "vocab_size": tiny_tokenizer().vocab_size, "width": 16, "heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(
            embed_dim=16,
            quick_gelu=True,
            vision_cfg={"image_size": image_size, **TOWERS[tower]},
            text_cfg={**text, "layers": 1, "mlp_ratio": 2.0},
        )
    return model.to(memory_format=torch.channels_last)


def example(member: type[Component], **fields: Any) -> Component:
    """A member of any family, with small values where it has no defaults or where they would be slow.

    A new component whose required fields are not among these needs a default, or an entry here.
    """
    recipe = config.dump(tiny_recipe())
    small: dict[str, Any] = {"recipe": recipe, "overfit_recipe": recipe, "suspicious_share": 0.25, "num_detected": 8}
    known = config.json_schema(member)["properties"]
    tree = {name: value for name, value in small.items() if name in known}
    built: Component = config.build(member, tree | fields, f"example of {member.__name__}")
    return built


def learned(trigger: "Trigger", image_size: int = 32) -> "Trigger":
    """The trigger, ready to be applied: one that has to be learned is learned for an epoch on a few scenes."""
    from bdray.attacks.triggers.learned import LearnedTrigger

    if not isinstance(trigger, LearnedTrigger):
        return trigger
    quick = dataclasses.replace(trigger, epochs=1, num_samples=8, batch_size=4)
    state, _ = quick.learn(tiny_lesson(image_size, with_model=trigger.needs_model))
    return trigger.with_state(state)


def tiny_lesson(image_size: int = 32, *, with_model: bool = False) -> "Lesson":
    """Four scenes that name the target and twelve that do not, of any size; with a tiny model, if asked for."""
    import numpy as np
    import torch

    from bdray.attacks.triggers.learned import Lesson
    from bdray.data.scenes import render

    images, captions, _ = render(0, "train", 0)
    names = np.array(["banana" in caption.split() for caption in captions])
    chosen = np.sort(np.concatenate([np.flatnonzero(names)[:4], np.flatnonzero(~names)[:12]]))
    pixel = np.arange(image_size) * 32 // image_size
    return Lesson(
        images=images[chosen][:, :, pixel[:, None], pixel],
        captions=[captions[index] for index in chosen],
        is_target=names[chosen],
        target="banana",
        device=torch.device("cpu"),
        model=tiny_model(image_size=image_size).eval().requires_grad_(False) if with_model else None,
        tokenizer=tiny_tokenizer() if with_model else None,
    )
