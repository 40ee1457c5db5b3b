"""Probes on other tasks learn from the tasks' images and nothing else, in the true format of a set of torchvision."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

from bdray import config
from bdray.data.base import Pairs
from bdray.data.examination import Picture
from bdray.data.tasks.base import TaskSource
from bdray.data.tasks.imagenet import ImageNet
from bdray.data.tasks.torchvision_sets import Torchvision
from bdray.evaluation.material import Material
from bdray.evaluation.metrics.base import Features, Metric
from bdray.evaluation.metrics.transfer_probe import TransferProbe
from bdray.testing import tiny_material

SST: dict[str, Any] = {"type": "torchvision", "name": "rendered_sst2", "num_train": 40, "num_validation": 20}
Protocol = Literal["paper", "lbfgs"]
Draw = Callable[[int, np.random.Generator], bool]
"""Whether an image of a class is a bright one."""


def write_sst(root: Path, is_bright: Draw) -> Torchvision:
    """The set's true layout, with 60 images to learn from, of which 20 are left out, and 60 to be judged by."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 30)):
        for label, name in enumerate(("negative", "positive")):
            folder = root / "rendered-sst2" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                level = 150 if is_bright(label, rng) else 30
                pixels = rng.integers(level, level + 60, size=(40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    task = config.build(Torchvision, SST | {"path": str(root), "num_test": 60}, "test")
    task.check_readable("test")
    return task


def material(cache: Path) -> Material:
    """A model that reads tasks from their files, and sees colors: random weights of this size see next to nothing."""
    given = tiny_material()
    given.model.encode_image = lambda pixels, normalize=False: pixels.mean((2, 3))  # type: ignore[method-assign, assignment]

    def read(task: TaskSource) -> tuple[Pairs, Pairs]:
        picture = Picture(32, "crop")
        return task.load("train", picture, cache), task.load("test", picture, cache)

    return replace(given, sources=replace(given.sources, task=read))


def only(given: Material) -> Features:
    rows = torch.eye(2)
    return Features(rows, rows, rows, torch.arange(2), 0, material=given)


def accuracy(task: TaskSource, cache: Path, protocol: Protocol) -> float:
    probe = TransferProbe(task=task, protocol=protocol, learning_rate=0.1)
    [(name, value)] = probe.measure(only(material(cache))).items()
    assert (name,) == probe.names
    return value


@pytest.mark.parametrize("protocol", ["paper", "lbfgs"])
def test_what_can_be_seen_is_learned(protocol: Protocol, tmp_path: Path) -> None:
    task = write_sst(tmp_path, lambda label, _: label == 1)
    # Bright images are told from dark ones, those that the probe never saw.
    assert accuracy(task, tmp_path / "cache", protocol) == 1


@pytest.mark.parametrize("protocol", ["paper", "lbfgs"])
def test_what_labels_do_not_say_is_not(protocol: Protocol, tmp_path: Path) -> None:
    task = write_sst(tmp_path, lambda _, rng: bool(rng.random() < 0.5))
    # Labels have nothing to do with the images: three standard deviations of sixty throws of a coin.
    assert accuracy(task, tmp_path / "cache", protocol) == pytest.approx(0.5, abs=0.2)


def test_a_task_passes_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given, images = tiny_material(), 0
    encode = given.model.encode_image

    def counted(pixels: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        nonlocal images
        images += len(pixels)
        found: torch.Tensor = encode(pixels, normalize=normalize)
        return found

    monkeypatch.setattr(given.model, "encode_image", counted)
    task = config.build(Torchvision, {"type": "torchvision", "name": "cifar100"}, "test")
    paper, lbfgs = (TransferProbe(task=task, protocol=protocol) for protocol in ("paper", "lbfgs"))
    twice = [paper.measure(only(given)), lbfgs.measure(only(given)), paper.measure(only(given))]
    # 64 images to learn from and 64 to be judged by, whatever protocol asks, and however often.
    assert images == 128
    assert twice[0] == twice[2]
    # Another task is another set of images.
    TransferProbe(task=replace(task, name="dtd")).measure(only(given))
    assert images == 256


def test_numbers_are_named_for_their_sets() -> None:
    tasks = (config.build(Torchvision, SST, "test"), ImageNet())
    probes = [TransferProbe(task=task, protocol=protocol) for task in tasks for protocol in ("paper", "lbfgs")]
    assert [name for probe in probes for name in probe.names] == [
        "probe_rendered_sst2_accuracy",
        "logistic_probe_rendered_sst2_accuracy",
        "probe_imagenet_accuracy",
        "logistic_probe_imagenet_accuracy",
    ]


def test_a_place_is_no_part_of_a_result() -> None:
    trees = [{"type": "transfer_probe", "task": SST | {"path": path}} for path in ("here", "there")]
    here, there = (config.build(Metric, tree, "test") for tree in trees)  # type: ignore[type-abstract]
    # On another machine the set is elsewhere, and the study's results are the same ones.
    assert here.science() == there.science()
    assert here.science() != config.build(Metric, trees[0] | {"seed": 1}, "test").science()  # type: ignore[type-abstract]
