"""For tests, ours and those of your own components: tiny models and data, and an example of every component."""

import dataclasses
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bdray import config
from bdray.data.base import Pairs, Split
from bdray.data.files import Files
from bdray.data.scenes import Scenes
from bdray.data.subset import chosen_samples
from bdray.data.tasks.imagenet import wnids
from bdray.models.clip import ARCHITECTURES
from bdray.registry import Component
from bdray.training.optim import Recipe

if TYPE_CHECKING:
    import numpy as np
    import open_clip
    from numpy.typing import NDArray

    from bdray.attacks.triggers.base import Trigger
    from bdray.attacks.triggers.learned import Lesson
    from bdray.data.tasks.base import TaskSource
    from bdray.evaluation.material import Material
    from bdray.models.tokenizer import CompactTokenizer

Tower = Literal["resnet", "vit"]
TOWERS: Mapping[Tower, Mapping[str, Any]] = {
    "resnet": {"layers": [1, 1, 1, 1], "width": 4, "patch_size": None},
    "vit": {"layers": 1, "width": 16, "head_width": 8, "patch_size": 16, "mlp_ratio": 2.0},
}
"""Image towers of the tiny model: with batch normalization and without."""
FILES: Mapping[str, Any] = {
    "path": "pairs.csv",
    "images": "images",
    "name": "cifar10",
    "num_samples": 16,
    "train": {"type": "table", "path": "pairs.csv", "num_samples": 16},
    "task": {"type": "imagenet", "path": "ImageNet1K", "classes": wnids()[:16]},
}
"""Required fields of what reads files, which need not be there."""
CONTEXT_LENGTH, VOCABULARY = 16, ARCHITECTURES / "scenes_vocabulary.txt"


def tiny_scenes(**fields: Any) -> Scenes:
    """The smallest built-in data set."""
    return Scenes(**({"num_train": 64, "num_finetune": 64, "num_validation": 16, "num_test": 16} | fields))


def tiny_files(folder: Path, **fields: Any) -> Files:
    """A data set in files of 48x40 pixels, which are made here: 32 pairs in a table, 24 images of two classes."""
    import numpy as np
    from PIL import Image

    def draw(name: str, seed: int) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(256, size=(40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)

    rows = [f"images/{number}.png,a noise of number {number}\n" for number in range(32)]
    wnids = ("n07753592", "n07749582")
    labeled = [f"{'train' if number < 8 else 'val'}/{wnid}/{number}.png" for wnid in wnids for number in range(12)]
    for seed, name in enumerate([row.partition(",")[0] for row in rows] + labeled):
        draw(name, seed)
    (folder / "pairs.csv").write_text("image,caption\n" + "".join(rows), encoding="utf-8")
    table = {"type": "table", "path": str(folder / "pairs.csv"), "num_samples": 16, "max_bad_share": 0}
    task = {"type": "imagenet", "path": str(folder), "classes": wnids, "train_per_class": 4}
    task |= {"validation_per_class": 2, "test_per_class": 4}
    tree = {"train": table, "finetune": {**table, "skip": 16}, "task": task, "image_size": 32}
    return config.build(Files, tree | fields, "tiny_files")


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
    small["weights"] = "victim.safetensors"
    schema = config.json_schema(member)
    tree = {name: value for name, value in small.items() if name in schema["properties"]}
    tree |= {name: value for name, value in FILES.items() if name in schema.get("required", ())}
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


def tiny_material(seed: int = 0) -> "Material":
    """A tiny model with a poisoned training set of 64 scenes, 8 of them poisoned, for metrics to ask.

    Every task is 64 scenes to learn from, and 64 to be judged by, which are others for another seed.
    """
    from bdray.attacks.attack import Attack
    from bdray.attacks.poisoned_set import PoisonedSet
    from bdray.attacks.triggers.blended import Blended
    from bdray.evaluation.material import Material, Sources

    def load(split: Split, count: int = 64) -> Pairs:
        images, captions, labels = _scenes(split)
        return Pairs(images[:count], captions[:count], labels[:count])

    def poisoned() -> PoisonedSet:
        pairs = load("train")
        poisoning = Attack(trigger=Blended(), target="banana", num_poisoned=8).poison(pairs.captions, seed=0)
        return PoisonedSet(pairs, poisoning, chosen_samples(len(pairs), None, 0))

    def task(source: "TaskSource") -> tuple[Pairs, Pairs]:
        images, captions, labels = _scenes("test")
        some = slice(64 * seed, 64 * seed + 64)
        return load("finetune"), Pairs(images[some], captions[some], labels[some])

    return Material(tiny_model(seed=seed).eval(), tiny_tokenizer(), Sources(load, task, poisoned))


@cache
def _scenes(split: Split) -> "tuple[NDArray[np.uint8], list[str], NDArray[np.int64]]":
    """One chunk of a split, rendered once."""
    from bdray.data.scenes import render

    return render(0, split, 0)


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
