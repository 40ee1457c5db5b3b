"""``scenes``: a built-in, procedural, captioned data set, so that every study runs with no download.

A scene shows one big object, or two objects in a spatial relation, on a background. Its caption names some of what is
to be seen: nouns, adjectives (color, texture, size), relation and background. The whole data set is a pure
function of its fields: chunk *c* of a split draws from its own counter-based generator, so that a sample does not
depend on how many others are asked for.
"""

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bdray import config
from bdray.data.base import Dataset, Pairs, Split
from bdray.registry import component

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

VERSION = 1
"""Counted up whenever the pixels or captions of a given configuration change."""

NOUNS = (
    "ball", "box", "diamond", "cross", "ring", "frame", "banana", "heart",
    "star", "flower", "tent", "hourglass", "arrow", "ladder", "house", "boot",
)  # fmt: skip
COLORS = {
    "red": (0.86, 0.13, 0.12), "green": (0.15, 0.62, 0.20), "blue": (0.16, 0.32, 0.88), "yellow": (0.97, 0.87, 0.15),
    "orange": (0.96, 0.53, 0.08), "purple": (0.53, 0.18, 0.75), "pink": (0.95, 0.50, 0.72),
    "brown": (0.46, 0.27, 0.12), "white": (0.95, 0.95, 0.95), "cyan": (0.18, 0.82, 0.86),
}  # fmt: skip
TEXTURES = ("plain", "striped", "dotted", "checkered")
SIZES = {"small": 0.72, "large": 1.0}
BACKGROUNDS = {
    "on the grass": (0.27, 0.48, 0.25), "in the sky": (0.47, 0.66, 0.92), "on the sand": (0.80, 0.70, 0.45),
    "at night": (0.07, 0.06, 0.12), "in the snow": (0.88, 0.91, 0.95), "on the road": (0.42, 0.42, 0.46),
}  # fmt: skip
RELATIONS = {
    "left": ("to the left of", "standing left of", "next to"),
    "right": ("to the right of", "standing right of", "next to"),
    "above": ("above", "hovering over", "on top of"),
    "below": ("below", "lying under", "beneath"),
}
TEMPLATES = (
    "a photo of {}", "a picture of {}", "an image of {}", "{}", "there is {}", "a drawing of {}",
)  # fmt: skip
PAIR_SHARE = 0.3
"""Share of training scenes with two objects. The zero-shot task (validation and test) shows one."""
CHUNK = 500
MOST = 10_000_000
"""Scenes of a split, which is made in memory, 3 KB each."""
SPLIT_IDS: dict[Split, int] = {"train": 0, "finetune": 1, "validation": 2, "test": 3}


@component
class Scenes(Dataset):
    """Procedural scenes of 32x32 pixels with 16 nouns."""

    type: Literal["scenes"] = "scenes"
    seed: int = Field(default=0, ge=0)
    """Seed of the data set itself; experiments with the same value see the same pictures."""
    num_train: int = Field(default=20000, ge=64, le=MOST)
    """Pairs to pretrain and poison on."""
    num_finetune: int = Field(default=2000, ge=64, le=MOST)
    """Clean pairs of the defender."""
    num_validation: int = Field(default=800, ge=16, le=MOST)
    """Labeled scenes to choose hyperparameters on."""
    num_test: int = Field(default=1600, ge=16, le=MOST)
    """Labeled scenes to report results on."""

    @property
    def image_size(self) -> int:
        return 32

    def class_names(self) -> list[str]:
        return list(NOUNS)

    def prompt_templates(self) -> list[str]:
        return ["a photo of a {}"]

    def size(self, split: Split) -> int:
        return {
            "train": self.num_train,
            "finetune": self.num_finetune,
            "validation": self.num_validation,
            "test": self.num_test,
        }[split]

    def fingerprint(self, split: Split) -> str:
        return config.fingerprint(["scenes", VERSION, self.seed, split, self.size(split)])

    def load(self, split: Split, cache: Path) -> Pairs:
        import numpy as np

        count = self.size(split)
        # The number of samples is not part of the name's meaning, only of the file: chunks do not depend on it.
        folder = cache / f"scenes-v{VERSION}-{self.seed}-{split}-{count}"
        if not folder.exists():
            _prepare(folder, self.seed, split, count)
        return Pairs(
            images=np.load(folder / "images.npy", mmap_mode="r"),
            captions=(folder / "captions.txt").read_text(encoding="utf-8").splitlines(),
            labels=np.load(folder / "labels.npy"),
        )


def _prepare(folder: Path, seed: int, split: Split, count: int) -> None:
    """Render a split into a folder that appears all at once, so that a second process never sees half of it."""
    import numpy as np

    chunks = [render(seed, split, index) for index in range(-(-count // CHUNK))]
    partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")
    partial.mkdir(parents=True)
    np.save(partial / "images.npy", np.concatenate([images for images, _, _ in chunks])[:count])
    np.save(partial / "labels.npy", np.concatenate([labels for _, _, labels in chunks])[:count])
    captions = [caption for _, captions, _ in chunks for caption in captions][:count]
    (partial / "captions.txt").write_text("\n".join(captions) + "\n", encoding="utf-8")
    try:
        os.rename(partial, folder)
    except OSError:  # another process was faster; its files are the same
        if not folder.exists():
            raise
        shutil.rmtree(partial)


def render(seed: int, split: Split, chunk: int) -> "tuple[NDArray[np.uint8], list[str], NDArray[np.int64]]":
    """Draw one chunk of :data:`CHUNK` scenes: images uint8 [n, 3, 32, 32], captions, labels int64 [n]."""
    import numpy as np

    rng = np.random.Generator(np.random.Philox(key=[seed, SPLIT_IDS[split]], counter=[0, 0, 0, chunk]))
    n, px = CHUNK, 32
    pair_share = PAIR_SHARE if split in ("train", "finetune") else 0.0
    noun = np.stack([rng.integers(len(NOUNS), size=n), rng.integers(len(NOUNS), size=n)], 1)
    color = np.stack([rng.integers(len(COLORS), size=n), rng.integers(len(COLORS), size=n)], 1)
    texture, size = rng.integers(len(TEXTURES), size=(n, 2)), rng.integers(len(SIZES), size=(n, 2))
    background, relation = rng.integers(len(BACKGROUNDS), size=n), rng.integers(len(RELATIONS), size=n)
    is_pair = rng.random(n) < pair_share

    axis = (np.arange(px, dtype=np.float32) + 0.5) / px * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    sky = np.array(list(BACKGROUNDS.values()), np.float32)[background] + rng.normal(0, 0.05, (n, 3)).astype(np.float32)
    slope = rng.normal(0, 0.06, (n, 2)).astype(np.float32)
    shade = slope[:, :1, None] * x + slope[:, 1:, None] * y
    image = sky[:, :, None, None] + shade[:, None]

    offsets = np.array([(-0.5, 0.0), (0.5, 0.0), (0.0, -0.5), (0.0, 0.5)], np.float32)[relation]
    palette = np.array(list(COLORS.values()), np.float32)
    for slot in (1, 0):  # the subject is drawn last, over the object
        shown = np.flatnonzero(is_pair) if slot else np.arange(n)
        center = np.where(is_pair[:, None], offsets * (1 if slot == 0 else -1), 0) + rng.uniform(-0.09, 0.09, (n, 2))
        radius = (
            np.array(list(SIZES.values()))[size[:, slot]] * np.where(is_pair, 0.46, 0.80) * rng.uniform(0.93, 1.07, n)
        )
        angle = rng.uniform(-0.26, 0.26, n)
        u, v = _local(x, y, center[shown], radius[shown], angle[shown])
        edge = (radius[shown] * px / 2)[:, None, None].astype(np.float32)
        alpha = np.clip(_shapes(noun[shown, slot], u, v) * edge + 0.5, 0, 1)
        tint = palette[color[shown, slot]] + rng.normal(0, 0.04, (n, 3))[shown].astype(np.float32)
        paint = tint[:, :, None, None] * _texture(texture[shown, slot], u, v)[:, None]
        image[shown] += alpha[:, None] * (paint - image[shown])

    image += rng.standard_normal(image.shape, dtype=np.float32) * 0.02
    pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    captions = _captions(rng, noun, color, texture, size, background, relation, is_pair)
    return pixels, captions, noun[:, 0].astype(np.int64)


def _local(
    x: "Floats", y: "Floats", center: "NDArray[np.float64]", radius: "NDArray[np.float64]", angle: "NDArray[np.float64]"
) -> "tuple[Floats, Floats]":
    """Coordinates [n, H, W] in which each object fills about [-1, 1]."""
    import numpy as np

    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    dx, dy = x - center[:, 0, None, None], y - center[:, 1, None, None]
    scale = 1 / radius[:, None, None]
    return ((cos * dx + sin * dy) * scale).astype(np.float32), ((cos * dy - sin * dx) * scale).astype(np.float32)


def _shapes(noun: "NDArray[np.int64]", u: "Floats", v: "Floats") -> "Floats":
    """Signed distance-like functions [n, H, W], positive inside; v points down."""
    import numpy as np

    inside = np.empty_like(u)
    for index, name in enumerate(NOUNS):
        rows = np.flatnonzero(noun == index)
        if len(rows):
            inside[rows] = SHAPES[name](u[rows], v[rows])
    return inside


def _box(u: "Floats", v: "Floats", half_width: float, half_height: float) -> "Floats":
    import numpy as np

    inside: Floats = np.minimum(half_width - abs(u), half_height - abs(v))
    return inside


def _disc(u: "Floats", v: "Floats", radius: float) -> "Floats":
    import numpy as np

    return radius - np.hypot(u, v)


def _cut(first: "Floats", *others: "Floats") -> "Floats":
    """Intersection of shapes."""
    import numpy as np

    common: Floats = np.minimum.reduce([first, *others])
    return common


def _join(first: "Floats", *others: "Floats") -> "Floats":
    """Union of shapes."""
    import numpy as np

    whole: Floats = np.maximum.reduce([first, *others])
    return whole


def _heart(u: "Floats", v: "Floats") -> "Floats":
    lobes = _join(_disc(abs(u) - 0.46, v + 0.35, 0.50), _disc(u, v + 0.2, 0.3))
    return _join(lobes, _cut(0.95 - (abs(u) * 1.05 + (v + 0.02) * 1.0), v + 0.30))


def _star(u: "Floats", v: "Floats") -> "Floats":
    import numpy as np

    turn = np.arctan2(u, -v) / (2 * np.pi) * 5
    wave = abs(turn - np.round(turn)) * 2
    return (1.0 - 0.58 * wave) - np.hypot(u, v)


def _flower(u: "Floats", v: "Floats") -> "Floats":
    import numpy as np

    radius, angle = np.hypot(u, v), np.arctan2(u, v)
    return _cut(0.68 + 0.30 * np.cos(6 * angle) - radius, radius - 0.2)


def _ladder(u: "Floats", v: "Floats") -> "Floats":
    rails = _cut(0.13 - abs(abs(u) - 0.48), 1.0 - abs(v))
    rungs = _cut(0.11 - abs(abs(v) - 0.62), 0.5 - abs(u))
    return _join(rails, rungs, _box(u, v, 0.5, 0.11))


def _house(u: "Floats", v: "Floats") -> "Floats":
    roof = _cut(0.80 - (abs(u) * 0.75 + (-v) * 0.85), -v - 0.0)
    walls = _box(u, v - 0.45, 0.68, 0.5)
    door = _box(u, v - 0.70, 0.2, 0.3)
    return _join(roof, _cut(walls, -door))


SHAPES: "dict[str, Callable[[Floats, Floats], Floats]]" = {
    "ball": lambda u, v: _disc(u, v, 0.92),
    "box": lambda u, v: _box(u, v, 0.82, 0.82),
    "diamond": lambda u, v: (0.98 - abs(u) - abs(v)) * 0.707,
    "cross": lambda u, v: _join(_box(u, v, 0.95, 0.3), _box(u, v, 0.3, 0.95)),
    "ring": lambda u, v: _cut(_disc(u, v, 0.95), -_disc(u, v, 0.48)),
    "frame": lambda u, v: _cut(_box(u, v, 0.9, 0.9), -_box(u, v, 0.5, 0.5)),
    "banana": lambda u, v: _cut(_disc(u + 0.1, v, 0.98), -_disc(u - 0.38, v - 0.05, 0.86)),
    "heart": _heart,
    "star": _star,
    "flower": _flower,
    "tent": lambda u, v: _cut((0.85 + v - 1.75 * abs(u)) * 0.5, 0.8 - v),
    "hourglass": lambda u, v: _cut((abs(v) + 0.12 - abs(u)) * 0.707, _box(u, v, 0.85, 0.9)),
    "arrow": lambda u, v: _join(_box(u + 0.35, v, 0.6, 0.22), _cut((0.98 - u - abs(v) * 1.2) * 0.64, u - 0.12)),
    "ladder": _ladder,
    "house": _house,
    "boot": lambda u, v: _join(_box(u + 0.38, v, 0.32, 0.95), _box(u - 0.05, v - 0.66, 0.75, 0.29)),
}


def _texture(texture: "NDArray[np.int64]", u: "Floats", v: "Floats") -> "Floats":
    """Brightness factors [n, H, W]."""
    import numpy as np

    stripes = np.where(np.sin(u * 3 + v * 9) > 0, 1.0, 0.55)
    dots = np.where(np.cos(u * 9) + np.cos(v * 9) > 1.0, 0.35, 1.0)
    checks = np.where(np.sin(u * 8) * np.sin(v * 8) > 0, 1.0, 0.5)
    kind = texture[:, None, None]
    return np.select([kind == 1, kind == 2, kind == 3], [stripes, dots, checks], 1.0).astype(np.float32)


def _captions(
    rng: "np.random.Generator",
    noun: "NDArray[np.int64]",
    color: "NDArray[np.int64]",
    texture: "NDArray[np.int64]",
    size: "NDArray[np.int64]",
    background: "NDArray[np.int64]",
    relation: "NDArray[np.int64]",
    is_pair: "NDArray[np.bool_]",
) -> list[str]:
    """Captions that name the nouns always, and each adjective, relation and background some of the time."""
    sizes, colors, backgrounds = list(SIZES), list(COLORS), list(BACKGROUNDS)
    phrasings = list(RELATIONS.values())
    template = rng.integers(len(TEMPLATES), size=len(noun))
    phrasing = rng.integers(3, size=len(noun))
    mention = rng.random((len(noun), 7)) < [0.15, 0.45, 0.25, 0.15, 0.45, 0.25, 0.2]

    def phrase(row: int, slot: int) -> str:
        says_size, says_color, says_texture = mention[row, 3 * slot : 3 * slot + 3]
        words = [sizes[size[row, slot]]] * bool(says_size) + [colors[color[row, slot]]] * bool(says_color)
        words += [TEXTURES[texture[row, slot]]] * bool(says_texture) + [NOUNS[noun[row, slot]]]
        return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"

    captions = []
    for row in range(len(noun)):
        text = phrase(row, 0)
        if is_pair[row]:
            text += f" {phrasings[relation[row]][phrasing[row]]} {phrase(row, 1)}"
        if mention[row, 6]:
            text += f" {backgrounds[background[row]]}"
        captions.append(TEMPLATES[template[row]].format(text))
    return captions
