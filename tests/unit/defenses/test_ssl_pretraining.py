"""MMCL + SSL pretraining is CleanCLIP on what the attacker published."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bdray.attacks.attack import Attack
from bdray.attacks.poisoned_set import PoisonedSet
from bdray.attacks.triggers.yellow import Yellow
from bdray.data.base import Pairs
from bdray.defenses.base import DefenderData, Sizes
from bdray.defenses.cleanclip import CleanCLIP
from bdray.defenses.ssl_pretraining import SslPretraining
from bdray.testing import tiny_model, tiny_recipe, tiny_scenes, tiny_tokenizer
from bdray.training.session import Session

RECIPE = tiny_recipe()


@pytest.mark.parametrize(("clip", "in_modal"), [(1.0, 1.0), (0.5, 3.0)])
def test_it_is_cleanclip_on_poisoned_files(clip: float, in_modal: float, cache: Path, tmp_path: Path) -> None:
    train = tiny_scenes().load("train", cache)
    # A trigger of whole 8-bit values, so that a file of the triggered image loses nothing.
    poisoning = Attack(trigger=Yellow(size=6, location="corner"), num_poisoned=16).poison(train.captions, seed=0)
    images = poisoning.apply(torch.from_numpy(np.array(train.images)).float() / 255, torch.arange(len(train)))
    files = Pairs(
        (images * 255).round().to(torch.uint8).numpy(), poisoning.replace_captions(train.captions), train.labels
    )
    session = Session(tokenizer=tiny_tokenizer(), seed=0, cache=tmp_path)
    found, expected = tiny_model(), tiny_model()
    given = DefenderData(poisoned=PoisonedSet(train, poisoning, np.arange(len(train))))
    history = SslPretraining(recipe=RECIPE, clip_weight=clip, in_modal_weight=in_modal).run(found, given, session)
    cleanclip = CleanCLIP(recipe=RECIPE, clip_weight=clip, in_modal_weight=in_modal)
    cleanclip.run(expected, DefenderData(clean=files), session)
    # Bit by bit: triggered images and the attacker's captions are trained on, and augmented, like all others.
    assert all(torch.equal(found.state_dict()[name], value) for name, value in expected.state_dict().items())
    for entry in history:
        assert entry["loss"] == pytest.approx(clip * entry["clip_loss"] + in_modal * entry["in_modal_loss"], rel=1e-5)


def test_its_cost_is_two_views_of_the_poisoned_set() -> None:
    assert SslPretraining(recipe=RECIPE).images(Sizes(trained=64)) == 64 * RECIPE.epochs * 2
