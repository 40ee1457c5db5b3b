"""For tests, ours and those of your own components: tiny models and data, and an example of every component."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from bdray import config
from bdray.data.scenes import Scenes
from bdray.models.clip import ARCHITECTURES
from bdray.registry import Component
from bdray.training.optim import Recipe

if TYPE_CHECKING:
    import open_clip

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


def tiny_model(tower: Tower = "resnet", seed: int = 0) -> "open_clip.CLIP":
    """A CLIP of some thousand parameters for 32-pixel images, laid out in memory as training stages have it."""
    import open_clip
    import torch

    text = {"context_length": CONTEXT_LENGTH, "vocab_size": tiny_tokenizer().vocab_size, "width": 16, "heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(
            embed_dim=16,
            quick_gelu=True,
            vision_cfg={"image_size": 32, **TOWERS[tower]},
            text_cfg={**text, "layers": 1, "mlp_ratio": 2.0},
        )
    return model.to(memory_format=torch.channels_last)


def example(member: type[Component], **fields: Any) -> Component:
    """A member of any family, with small values where it has no defaults or where they would be slow.

    A new component whose required fields are not among these needs a default, or an entry here.
    """
    small: dict[str, Any] = {"recipe": config.dump(tiny_recipe())}
    known = config.json_schema(member)["properties"]
    tree = {name: value for name, value in small.items() if name in known}
    built: Component = config.build(member, tree | fields, f"example of {member.__name__}")
    return built
