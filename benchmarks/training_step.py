"""A step of our training loop against the least that it could do, and against the way most people would write it.

Usage: python benchmarks/training_step.py                       (some minutes, on one CPU thread, as a trial has it)
       python benchmarks/training_step.py --settings tiny       (only shows that it runs)

``ours``: ``Session.train``, as a study calls it: batches, augmentation, schedule, losses read at the end of an epoch.
``cold``: the same where no trial before it has left second views and sub-captions on the node (scenes with views).
``bare``: forward pass, backward pass and optimizer step, on one batch that lies ready; it does not even clip gradients.
``usual``: a DataLoader that opens every image with PIL, augments and tokenizes it when it is read; one forward pass
for each view; AdamW as it comes; the loss is read after every step. The training itself is the same.

``scenes`` is the built-in study with its recipe; ``RN50`` is the papers' model at 224 px, in float32 like the rest,
on JPEG files made here, of which ours reads the decoded pixels that a study prepares once. What a training does once,
such as EDA on all sides, is not in the times. The sides take turns after each epoch of ours; numbers are medians over
rounds after one to warm up.
"""

import argparse
import random
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
from bare_loop import BareLoop, Resident, build
from input_pipeline import prepared, write_files
from measuring import ratio, seconds, show
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms

from bdray.data.base import Pairs
from bdray.data.scenes import Scenes
from bdray.losses import clip_loss, factual_counterfactual_loss, in_modal_loss
from bdray.models.clip import PIXEL_MEAN, PIXEL_STD, Model
from bdray.models.tokenizer import Tokenizer
from bdray.objective import ContrastiveObjective, Objective
from bdray.testing import tiny_tokenizer
from bdray.text.eda import Eda
from bdray.text.parsers.lexicon import Lexicon
from bdray.text.sub_captions import counterfactual, factual, simplify
from bdray.training.captions import augment_captions
from bdray.training.factual_counterfactual import FactualCounterfactualObjective
from bdray.training.feed import Feed
from bdray.training.optim import Recipe
from bdray.training.session import Session
from bdray.training.sub_captions import SubCaptionSource
from bdray.training.views import Views

CLEANCLIP = ContrastiveObjective(1.0, 1.0)
OBJECTIVES: Mapping[str, Objective] = {
    "FT": ContrastiveObjective(),
    "CleanCLIP": CLEANCLIP,
    "CleanerCLIP": FactualCounterfactualObjective(CLEANCLIP),
}
SUB_CAPTIONED = 0.5
"""Samples of an epoch that get sub-captions, of those there are: K = 1,000 of 2,000 scenes."""


@dataclass(frozen=True)
class Setting:
    """What is trained."""

    name: str
    model: str
    tokenizer: Tokenizer
    pairs: Pairs
    """Of a whole epoch."""
    recipe: Recipe
    methods: Sequence[str]
    files: Path | None = None
    """Folder of ``INDEX.jpg``, from which the usual way reads; None: it turns scenes into PIL images."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settings", nargs="+", default=DEFAULT, choices=SETTINGS, help="others write no result")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bdray-bench-") as name:
        for setting in (SETTINGS[chosen](Path(name)) for chosen in options.settings):
            for method in setting.methods:
                rows.append(measured(setting, method, Path(name), options.rounds))
                show(rows[-1])
    if options.settings == DEFAULT:
        found = {"threads": 1, "torch": torch.__version__, "rounds": options.rounds, "rows": rows}
        record.write("training_step", found, [claim for row in rows for claim in claims(row)])


def claims(row: Mapping[str, Any]) -> list[record.Claim]:
    """What a row decides."""
    what, times = f"{row['setting']}, {row['method']}", 2.0 if row["setting"] == "scenes" else 1.3
    return [
        record.Claim(f"{what}: rate over that of a bare loop", row["share_of_bare"], "", at_least=0.92),
        record.Claim(f"{what}: rate over that of the usual way", row["times_usual"], "×", at_least=times),
    ]


def scenes(folder: Path, steps: int = 16) -> Setting:
    """The built-in study's defender."""
    pairs = first(Scenes(num_train=10_000, num_finetune=2_000).load("finetune", folder), 64 * steps)
    recipe = Recipe(epochs=1, batch_size=64, learning_rate=1.5e-3, beta2=0.98, gradient_clip=1.0)
    return Setting("scenes", "scenes-rn", Model().tokenizer(), pairs, recipe, tuple(OBJECTIVES))


def rn50(folder: Path, batch: int = 8) -> Setting:
    """The papers' model; an epoch is one step."""
    write_files(folder, batch)
    pairs, _ = prepared(folder, "kept", batch)
    recipe = Recipe(epochs=1, batch_size=batch, learning_rate=1e-6, warmup_steps=0)
    return Setting("RN50", "RN50", Model(architecture="RN50").tokenizer(), pairs, recipe, ("FT", "CleanCLIP"), folder)


def tiny(folder: Path) -> Setting:
    """Something of everything, in a moment."""
    pairs = first(Scenes(num_train=64, num_finetune=64, num_validation=16, num_test=16).load("finetune", folder), 32)
    recipe = Recipe(epochs=1, batch_size=16, learning_rate=1e-3, gradient_clip=1.0)
    return Setting("tiny", "tiny", tiny_tokenizer(), pairs, recipe, tuple(OBJECTIVES))


def first(pairs: Pairs, count: int) -> Pairs:
    """The first pairs of a set."""
    return Pairs(pairs.images[:count], pairs.captions[:count], pairs.labels[:count])


def measured(setting: Setting, method: str, folder: Path, rounds: int) -> dict[str, Any]:
    """One row of the table. The others take their turns whenever ours has ended an epoch."""
    others = {"bare": bare_epoch(setting, method), "usual": usual_epoch(setting, method)}
    # At 224 px as many images as the papers have do not fit into the cache of views.
    cache = folder / setting.name if setting.files is None else None
    keep(setting, method, cache, 1 + rounds)
    times: dict[str, list[float]] = {"ours": [], "cold": [], "bare": [], "usual": []}

    def turn(metrics: Mapping[str, float]) -> None:
        times["ours"].append(metrics["train_seconds"])
        if cache is not None and OBJECTIVES[method].needs_views:
            train(setting, method, 1, None, lambda metrics: times["cold"].append(metrics["train_seconds"]))
        for name, epoch in others.items():
            times[name].append(seconds(epoch))

    train(setting, method, 1 + rounds, cache, turn)
    steps = feed(setting, method).steps_per_epoch
    warm = {name: taken[1:] for name, taken in times.items() if taken}
    rates = {name: steps * setting.recipe.batch_size / statistics.median(taken) for name, taken in warm.items()}
    return {
        "setting": setting.name,
        "method": method,
        "batch": setting.recipe.batch_size,
        **{f"{name}_samples_per_second": round(rate, 2) for name, rate in rates.items()},
        "share_of_bare": round(ratio(warm["ours"], warm["bare"]), 3),
        "times_usual": round(ratio(warm["ours"], warm["usual"]), 2),
        **({"cold_times_usual": round(ratio(warm["cold"], warm["usual"]), 2)} if "cold" in warm else {}),
    }


def train(
    setting: Setting, method: str, epochs: int, cache: Path | None, report: Callable[[Mapping[str, float]], None]
) -> None:
    """Ours, from the model's first weights."""
    Session(tokenizer=setting.tokenizer, seed=0, report=report, cache=cache).train(
        build(setting.model, torch.device("cpu")),
        OBJECTIVES[method],
        replace(setting.recipe, epochs=epochs),
        setting.pairs.images,
        setting.pairs.captions,
        text_augmentation=Eda(),
        sub_captions=sub_captions(setting, method, cache),
    )


def keep(setting: Setting, method: str, cache: Path | None, epochs: int) -> None:
    """Leave what an earlier trial would have."""
    if cache is not None:
        views, source = Views(setting.pairs.images, seed=0, cache=cache), sub_captions(setting, method, cache)
        for epoch in range(epochs):
            views.batch(epoch, np.arange(0))
            if source is not None:
                source.epoch(epoch, setting.recipe.batch_size)


def sub_captions(setting: Setting, method: str, cache: Path | None = None) -> SubCaptionSource | None:
    """Of CleanerCLIP's extra batches."""
    if method != "CleanerCLIP":
        return None
    number = int(SUB_CAPTIONED * len(setting.pairs.captions))
    return SubCaptionSource(setting.pairs.captions, Lexicon(), setting.tokenizer, seed=0, number=number, cache=cache)


def feed(setting: Setting, method: str) -> Feed:
    """The batches that ours trains on."""
    captions = setting.pairs.captions
    return Feed(
        images=setting.pairs.images,
        tokens=setting.tokenizer(captions),
        augmented_tokens=setting.tokenizer(augment_captions(captions, Eda(), seed=0)),
        batch_size=setting.recipe.batch_size,
        seed=0,
        sub_captions=sub_captions(setting, method),
    )


def bare_epoch(setting: Setting, method: str) -> Callable[[], None]:
    """As many steps as ours has in an epoch, of the same kinds."""
    views = OBJECTIVES[method].needs_views
    batches = [Resident.of(batch) for batch in feed(setting, method).epoch(0, views=views)]
    loop = BareLoop(build(setting.model, torch.device("cpu")), setting.recipe)

    def epoch() -> None:
        for batch in batches:
            loop.step(batch)

    return epoch


def usual_epoch(setting: Setting, method: str) -> Callable[[], None]:
    """The same steps as most people would write them."""
    model = build(setting.model, torch.device("cpu")).to(memory_format=torch.contiguous_format).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=setting.recipe.learning_rate, weight_decay=0.1)
    pairs: list[Dataset[tuple[Tensor, ...]]] = [UsualPairs(setting, views=OBJECTIVES[method].needs_views)]
    if source := sub_captions(setting, method):
        pairs.append(Subset(UsualSubCaptions(setting), range(source.number)))
    loaders = [DataLoader(part, setting.recipe.batch_size, shuffle=True, drop_last=True) for part in pairs]

    def loss_of_pairs(images: Tensor, tokens: Tensor, *views: Tensor) -> Tensor:
        image, text, scale = model(images, tokens)
        loss = clip_loss(image, text, scale)
        if views:
            other_image, other_text, _ = model(*views)
            loss = loss + (in_modal_loss(image, other_image, scale) + in_modal_loss(text, other_text, scale)) / 2
        return loss

    def loss_of_sub_captions(images: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        image, text, _ = model(images, positive)
        return factual_counterfactual_loss(image, text, model.encode_text(negative, normalize=True), 0.3, 0.3)

    losses: list[Callable[..., Tensor]] = [loss_of_pairs, loss_of_sub_captions]

    def epoch() -> None:
        total = 0.0
        for loader, loss_of in zip(loaders, losses, strict=False):
            for batch in loader:
                optimizer.zero_grad()
                loss = loss_of(*batch)
                loss.backward()
                if setting.recipe.gradient_clip is not None:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), setting.recipe.gradient_clip)
                optimizer.step()
                total += loss.item()

    return epoch


class UsualPairs(Dataset[tuple[Tensor, ...]]):
    """Images and captions, and second views if asked for; everything is made when it is read."""

    def __init__(self, setting: Setting, *, views: bool) -> None:
        self._setting = setting
        self._captions = setting.pairs.captions
        self._other_captions = augment_captions(self._captions, Eda(), seed=0) if views else None
        side = setting.pairs.images.shape[-1]
        self._crop = transforms.Compose(
            [transforms.Resize(side, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(side)]
        )
        self._augment = transforms.AutoAugment()
        self._tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize(PIXEL_MEAN, PIXEL_STD)])

    def __len__(self) -> int:
        return len(self._captions)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        image = self.open(index)
        sample = self._tensor(image), self.tokens(self._captions[index])
        if self._other_captions is None:
            return sample
        return *sample, self._tensor(self._augment(image)), self.tokens(self._other_captions[index])

    def open(self, index: int) -> Image.Image:
        """An image as PIL gives it, of the model's size."""
        if self._setting.files is None:
            return Image.fromarray(np.ascontiguousarray(self._setting.pairs.images[index].transpose(1, 2, 0)))
        cropped: Image.Image = self._crop(Image.open(self._setting.files / f"{index}.jpg").convert("RGB"))
        return cropped

    def tokens(self, caption: str) -> Tensor:
        """Ids of one caption."""
        return self._setting.tokenizer([caption])[0]


class UsualSubCaptions(UsualPairs):
    """Images with sub-captions, parsed whenever they are read."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting, views=False)
        self._parser, self._rng = Lexicon(), random.Random(0)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        parsed = simplify(self._parser.parse(self._captions[index]))
        positive, negative = factual(parsed), counterfactual(parsed, self._rng)
        return self._tensor(self.open(index)), self.tokens(positive), self.tokens(negative)


SETTINGS: Mapping[str, Callable[[Path], Setting]] = {"scenes": scenes, "RN50": rn50, "tiny": tiny}
DEFAULT = ["scenes", "RN50"]


if __name__ == "__main__":
    main()
