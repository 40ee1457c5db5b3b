"""Poisoning as an index: poisoned samples change, all others stay as they are."""

import torch

from bdray.attacks.attack import Attack
from bdray.attacks.poisoning import Poisoning
from bdray.attacks.triggers.badnet import BadNet
from bdray.attacks.triggers.blended import Blended

POISONING = Poisoning(trigger=Blended(), captions={2: "a photo of a banana", 5: "a banana"})
IMAGES = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_captions_of_poisoned_samples_are_replaced() -> None:
    captions = [f"caption {index}" for index in range(7)]
    expected = [*captions[:2], "a photo of a banana", *captions[3:5], "a banana", captions[6]]
    assert POISONING.replace_captions(captions) == expected


def test_samples_know_whether_they_are_poisoned() -> None:
    samples = torch.tensor([5, 0, 2, 2, 7])
    assert POISONING.is_poisoned(samples).tolist() == [True, False, True, True, False]
    # Without poison none is.
    assert not Poisoning(trigger=Blended(), captions={}).is_poisoned(samples).any()


def test_only_poisoned_images_change() -> None:
    before = IMAGES.clone()
    found = POISONING.apply(IMAGES, torch.arange(8))
    changed = (found != IMAGES).flatten(1).any(1)
    assert changed.nonzero().flatten().tolist() == [2, 5]
    # They are what the trigger makes of them, each by its own sample index.
    chosen = torch.tensor([2, 5])
    assert torch.equal(found[chosen], POISONING.trigger.apply(IMAGES[chosen], chosen))
    # The images handed in are left alone.
    assert torch.equal(IMAGES, before)


def test_a_sample_is_poisoned_alike_in_every_batch() -> None:
    for trigger in (BadNet(size=4), Blended()):
        poisoning = Attack(trigger=trigger, num_poisoned=4).poison(["a scene"] * 8, seed=0)
        whole = poisoning.apply(IMAGES, torch.arange(8))
        # In reverse and one by one: the same pixels.
        assert torch.equal(poisoning.apply(IMAGES.flip(0), torch.arange(8).flip(0)).flip(0), whole)
        for index in range(8):
            assert torch.equal(poisoning.apply(IMAGES[index, None], torch.tensor([index])), whole[index, None])


def test_a_batch_without_poison_is_passed_on() -> None:
    assert POISONING.apply(IMAGES[:2], torch.tensor([0, 1])) is not None
    assert torch.equal(POISONING.apply(IMAGES[:2], torch.tensor([0, 1])), IMAGES[:2])
    assert POISONING.apply(IMAGES[:0], torch.tensor([], dtype=torch.long)).shape == (0, 3, 32, 32)
