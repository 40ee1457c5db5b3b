"""How fast batches are made, against how fast the papers' model takes them: RN50 at 224 pixels, from JPEG files.

Usage: python benchmarks/input_pipeline.py                                     (on a CPU: shares of a step)
       python benchmarks/input_pipeline.py --device cuda --processes 12        (on a GPU: shares of the synthetic rate)

Files are JPEGs of 500 x 375 pixels, about as large as CC3M's, read through a table of paths and captions. ``kept``:
decoded once, then read from a memory map. ``streamed``: decoded whenever they are read. FT wants one view of each
sample, CleanCLIP a second one by AutoAugment. Preparation (examining, decoding and writing all files) is shown apart.

``scenes-rn`` is the built-in study's model, on 1,024 scenes with 20 poisons: ``cold`` makes the second views of images,
``warm`` reads what an earlier trial of the node has left of them.

On a CPU the time of a batch is set against that of a step in the same process, which makes both. A step is forward and
backward pass of both towers in float32, measured on a batch of 8, by turns with the batches; times are per sample.
On a GPU whole trainings are compared: with real batches, and with one that lies on the device already.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import record
import torch
import torch.nn.functional as F
from bare_loop import build
from gpu_training import OBJECTIVES, SyntheticFeed, synthetic
from measuring import seconds, show
from PIL import Image

from bdray import config
from bdray.attacks.attack import Attack
from bdray.attacks.triggers.blended import Blended
from bdray.data.base import Pairs
from bdray.data.cache import CACHE_GIB
from bdray.data.examination import Picture
from bdray.data.preparation import load
from bdray.data.scenes import Scenes
from bdray.data.sources.table import Table
from bdray.losses import clip_loss
from bdray.models.clip import Model
from bdray.models.execution import Execution
from bdray.models.text_tower import encode_text
from bdray.objective import ContrastiveObjective
from bdray.text.eda import Eda
from bdray.training.captions import augment_captions
from bdray.training.feed import Feed
from bdray.training.loop import train
from bdray.training.optim import Recipe
from bdray.training.views import Views

MODEL = "RN50"
STORAGES = {"kept": "100", "streamed": "0"}
"""How much room pixels are given, in GiB, by what becomes of them then."""
CPU_BATCH = 8
VIEWS = {"FT": False, "CleanCLIP": True}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", type=torch.device)
    parser.add_argument("--processes", type=int, default=0, help="loader processes, on a GPU")
    parser.add_argument("--batch", type=int, default=256, help="on a GPU")
    parser.add_argument("--repeats", type=int, default=5, help="on a CPU")
    options = parser.parse_args()
    device: torch.device = options.device
    is_gpu = device.type == "cuda"
    torch.set_num_threads(1)  # as a trial has it
    count = 16 * options.batch if is_gpu else 8 * CPU_BATCH
    with tempfile.TemporaryDirectory(prefix="bdray-bench-") as name:
        folder = Path(name)
        write_files(folder, count)
        found = {storage: prepared(folder, storage, count) for storage in STORAGES}
        rates = {storage: round(count / taken) for storage, (_, taken) in found.items()}
        print(f"preparation: {', '.join(f'{storage} {rate} images/s' for storage, rate in rates.items())}")
        text_rate, tokens, augmented = texts(found["kept"][0].captions)
        print(f"captions augmented and tokenized, once for a training: {text_rate} a second")
        poisoning = Attack(trigger=Blended(), num_poisoned=max(1, count // 1000)).poison(["a photo"] * count, seed=0)
        feeds = {
            storage: Feed(
                images=pairs.images,
                tokens=tokens,
                augmented_tokens=augmented,
                batch_size=options.batch if is_gpu else CPU_BATCH,
                seed=0,
                poisoning=poisoning,
                device=device,
                loader_processes=options.processes if is_gpu else 0,
            )
            for storage, (pairs, _) in found.items()
        }
        rows = on_gpu(feeds, device) if is_gpu else on_cpu(feeds, options.repeats)
        if not is_gpu:
            rows += on_scenes(folder, options.repeats)
    for row in rows:
        show(row)
    result = {
        "device": torch.cuda.get_device_name(device) if is_gpu else "CPU, one thread",
        "images": count,
        "preparation_images_per_second": rates,
        "captions_per_second": text_rate,
        "rows": rows,
    }
    record.write(f"input_pipeline-{device.type}", result)


def write_files(folder: Path, count: int) -> None:
    """JPEGs as detailed as photographs (about 40 kB each), and a table of them."""
    rng = np.random.default_rng(0)
    lines = ["image,caption"]
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        pixels = np.asarray(coarse, np.float32) + rng.normal(0, 8, (375, 500, 1))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.jpg", quality=85)
        lines.append(f"{index}.jpg,an old house number {index} stands beside the road under a cloudy sky")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def prepared(folder: Path, storage: str, count: int) -> tuple[Pairs, float]:
    """The files as a data set, and the seconds of its preparation."""
    os.environ.update({"BDRAY_DATA": str(folder), CACHE_GIB: STORAGES[storage]})
    source = config.build(Table, {"type": "table", "path": "pairs.csv", "num_samples": count}, "benchmark")
    started = time.perf_counter()
    pairs = load(folder / storage, lambda: source.draw("data", folder), Picture(224, "crop"), "data")
    return pairs, time.perf_counter() - started


def texts(captions: Sequence[str]) -> tuple[int, torch.Tensor, torch.Tensor]:
    """Captions a second that are augmented by EDA and tokenized, both views; and the tokens of these."""
    tokenizer = Model(architecture=MODEL).tokenizer()
    tokens, augmented = tokenizer(captions), tokenizer(augment_captions(captions, Eda(), seed=0))
    many = [f"{caption} {number}" for caption in captions for number in range(50)]
    taken = seconds(lambda: (tokenizer(many), tokenizer(augment_captions(many, Eda(), seed=0))))
    return round(len(many) / taken), tokens, augmented


def on_cpu(feeds: Mapping[str, Feed], repeats: int, model: str = MODEL) -> list[dict[str, Any]]:
    """Milliseconds a sample of making it and of training on it, in turns."""
    size = next(iter(feeds.values())).batch_size
    trained = build(model, torch.device("cpu")).train()
    batch = next(next(iter(feeds.values())).epoch(0, views=False))

    def step() -> None:
        image, text = trained.encode_image(batch.images, normalize=True), encode_text(trained, batch.tokens)
        clip_loss(image, F.normalize(text, dim=-1), trained.logit_scale.exp()).backward()
        trained.zero_grad(set_to_none=True)

    step()
    steps: list[float] = []
    batches: dict[tuple[str, str], list[float]] = {(storage, method): [] for storage in feeds for method in VIEWS}
    for repeat in range(repeats):
        steps.append(seconds(step) / size)
        for (storage, method), taken in batches.items():
            epoch = feeds[storage].epoch(repeat, views=VIEWS[method])
            taken.append(seconds(partial(list, epoch)) / len(feeds[storage].images))
    rows = []
    for (storage, method), taken in batches.items():
        # CleanCLIP passes two images and two captions for each sample.
        of_step = statistics.median(steps) * (2 if VIEWS[method] else 1)
        of_batch = statistics.median(taken)
        rows.append(
            {
                "model": model,
                "images": storage,
                "method": method,
                "batch_ms": round(1000 * of_batch, 3),
                "step_ms": round(1000 * of_step, 2),
                "share_of_step": round(of_batch / of_step, 4),
            }
        )
    return rows


def on_scenes(folder: Path, repeats: int) -> list[dict[str, Any]]:
    """The same for the built-in data: second views of a node's first trial, and of those after it."""
    source = Scenes(num_train=10_000, num_finetune=2_000)
    taken = seconds(lambda: source.load("finetune", folder))
    pairs, tokenizer = source.load("finetune", folder), Model().tokenizer()
    images, captions = pairs.images[:1024], pairs.captions[:1024]
    tokens: list[torch.Tensor] = []
    of_texts = seconds(
        lambda: tokens.extend([tokenizer(captions), tokenizer(augment_captions(captions, Eda(), seed=0))])
    )
    print(f"scenes: rendered {round(2_000 / taken)} images/s, captions prepared {round(1024 / of_texts)} a second")
    poisoning = Attack(trigger=Blended(), num_poisoned=20).poison(captions, seed=0)
    cold = Feed(images=images, tokens=tokens[0], augmented_tokens=tokens[1], batch_size=64, seed=0, poisoning=poisoning)
    warm = replace(cold, cache=folder / "views")
    for repeat in range(repeats):
        Views(images, cold.seed, warm.cache).batch(repeat, np.arange(0))
    return on_cpu({"cold": cold, "warm": warm}, repeats, "scenes-rn")


def on_gpu(feeds: Mapping[str, Feed], device: torch.device) -> list[dict[str, Any]]:
    """Samples a second of whole trainings, from files and from the device's own memory."""
    rows = []
    for storage, feed in feeds.items():
        for method, objective in OBJECTIVES.items():
            batch = synthetic(MODEL, feed.batch_size, device, views=VIEWS[method])
            ideal = cast(Feed, SyntheticFeed(batch, feed.steps_per_epoch, device))
            rates = {name: rate(given, objective, feed) for name, given in {"synthetic": ideal, "files": feed}.items()}
            rows.append(
                {
                    "images": storage,
                    "method": method,
                    "processes": feed.loader_processes,
                    "samples_per_second": round(rates["files"]),
                    "synthetic_samples_per_second": round(rates["synthetic"]),
                    "share": round(rates["files"] / rates["synthetic"], 3),
                }
            )
    return rows


def rate(given: Feed, objective: ContrastiveObjective, feed: Feed) -> float:
    """Samples a second in the second epoch of a training in bf16."""
    recipe = Recipe(epochs=2, batch_size=feed.batch_size, learning_rate=1e-6, warmup_steps=0)
    model, execution = build(MODEL, given.device), Execution(precision="bf16")
    history = train(model, objective, given, recipe, report=lambda metrics: None, execution=execution)
    return feed.steps_per_epoch * feed.batch_size / history[-1]["train_seconds"]


if __name__ == "__main__":
    main()
