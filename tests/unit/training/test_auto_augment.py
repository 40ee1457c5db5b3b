"""AutoAugment for whole batches is torchvision's for single images, to the last bit."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from bdray.testing import tiny_scenes
from bdray.training import auto_augment
from bdray.training.auto_augment import apply, draw

COUNT = 400


@pytest.mark.parametrize(("size", "at_once"), [((32, 32), 2**17), ((32, 32), 1), ((48, 40), 2**30)])
def test_it_is_torchvisions(size: tuple[int, int], at_once: int, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_augment, "PIECE_BYTES", at_once)
    pixels = torch.from_numpy(np.array(tiny_scenes(num_train=COUNT).load("train", cache).images))
    images = torch.nn.functional.interpolate(pixels, size=size)
    theirs, drawn, policy = [], [], v2.AutoAugment()
    for seed, image in enumerate(images):
        torch.manual_seed(seed)
        theirs.append(policy(image))
        torch.manual_seed(seed)
        drawn.append(draw(*size))
    # Image by image or in pieces, however large these are: the same pixels.
    assert torch.equal(apply(images, drawn), torch.stack(theirs))
    # That is no accident of the sample: all of the policy's operations are in there, also as second ones.
    names = {name for sub_policy in policy._policies for name, _, _ in sub_policy}
    assert {name for operations in drawn for name, _ in operations} == names
    assert Counter(map(len, drawn)).keys() == {0, 1, 2}


def test_originals_are_left_alone() -> None:
    images = torch.full((3, 3, 16, 16), 40, dtype=torch.uint8)
    assert apply(images, [[("Invert", 0.0)], [], [("Invert", 0.0), ("Invert", 0.0)]])[:, 0, 0, 0].tolist() == [
        215,
        40,
        40,
    ]
    assert (images == 40).all()
    # Nothing to do is fine, too.
    assert torch.equal(apply(images, [[], [], []]), images)
