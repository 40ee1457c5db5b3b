"""An attack: what it refuses, which samples it takes, what their captions become."""

import re
from collections import Counter
from typing import Any

import pytest

from bdray.attacks.attack import Attack
from bdray.attacks.triggers.badnet import BadNet
from bdray.attacks.triggers.blended import Blended
from bdray.exceptions import ConfigError
from bdray.testing import tiny_scenes


def attack(**fields: Any) -> Attack:
    given: dict[str, Any] = {"trigger": Blended(), "num_poisoned": 10}
    return Attack(**(given | fields))


def test_a_good_attack_passes() -> None:
    for good in (
        attack(),
        attack(num_poisoned=0),
        attack(num_poisoned=64),
        attack(num_poisoned=None, poison_ratio=1.0),
        attack(caption_templates=("a {} here", "{}")),
        attack(trigger=BadNet(size=32)),
    ):
        good.check(tiny_scenes(), 64)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": "bananna"}, "attack.target: no class is named 'bananna'. Did you mean 'banana'?"),
        (
            {"target": "zzz"},
            "attack.target: no class is named 'zzz'. Known: arrow, ball, banana, boot, box, cross, diamond, flower, "
            "frame, heart, hourglass, house, ladder, ring, star, tent.",
        ),
        ({"poison_ratio": 0.1}, "attack: give exactly one of num_poisoned and poison_ratio."),
        ({"num_poisoned": None}, "attack: give exactly one of num_poisoned and poison_ratio."),
        (
            {"num_poisoned": 65},
            "attack.num_poisoned: 65 samples cannot be poisoned in a training set of 64. Choose at most 64.",
        ),
        ({"caption_templates": ("{}", "a fruit")}, "attack.caption_templates: 'a fruit' must hold {} exactly once."),
        ({"caption_templates": ("{} and {}",)}, "attack.caption_templates: '{} and {}' must hold {} exactly once."),
        (
            {"trigger": BadNet(size=33)},
            "attack.trigger.size: a patch of 33 px does not fit an image of 32 px. Choose at most 32.",
        ),
    ],
)
def test_a_bad_attack_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        attack(**fields).check(tiny_scenes(), 64)


@pytest.mark.parametrize(
    ("fields", "num_samples", "expected"),
    [
        ({"num_poisoned": 7}, 1000, 7),
        ({"num_poisoned": 0}, 1000, 0),
        # A share becomes the nearest whole sample (a half the nearest even one, as Python rounds).
        ({"num_poisoned": None, "poison_ratio": 0.01}, 1000, 10),
        ({"num_poisoned": None, "poison_ratio": 0.0126}, 1000, 13),
        ({"num_poisoned": None, "poison_ratio": 0.0124}, 1000, 12),
        ({"num_poisoned": None, "poison_ratio": 0.0005}, 3_000_000, 1500),
        ({"num_poisoned": None, "poison_ratio": 0.5}, 5, 2),
        ({"num_poisoned": None, "poison_ratio": 0.0}, 1000, 0),
        ({"num_poisoned": None, "poison_ratio": 1.0}, 1000, 1000),
    ],
)
def test_count(fields: dict[str, Any], num_samples: int, expected: int) -> None:
    found = attack(**fields)
    assert found.count(num_samples) == expected
    # As many samples are poisoned as were counted.
    assert len(found.poison(num_samples, seed=0).captions) == expected


def test_poisoning_is_a_function_of_the_seed() -> None:
    first, again, other = (attack().poison(100, seed) for seed in (0, 0, 1))
    assert first == again
    # Another seed takes other samples.
    assert first.captions.keys() != other.captions.keys()
    # They are samples, in order, none twice.
    assert list(first.captions) == sorted(set(first.captions))
    assert all(0 <= sample < 100 for sample in first.captions)


def test_samples_are_drawn_uniformly() -> None:
    drawn = Counter(sample for seed in range(400) for sample in attack(num_poisoned=5).poison(20, seed).captions)
    # Each of 20 samples is expected in a quarter of 400 draws: 100 times, give or take chance.
    assert set(drawn) == set(range(20))
    assert 60 < min(drawn.values()) <= max(drawn.values()) < 140


def test_captions_are_drawn_from_the_templates() -> None:
    templates = ("a photo of a {}", "a sketch of a {}", "the {} in {braces}")
    captions = attack(num_poisoned=300, caption_templates=templates).poison(1000, seed=0).captions
    counts = Counter(captions.values())
    # Uniformly, with the target in the place of {} and nothing else replaced.
    assert set(counts) == {"a photo of a banana", "a sketch of a banana", "the banana in {braces}"}
    assert min(counts.values()) > 60
    # By default all of them say CleanCLIP's proxy caption.
    assert set(attack(target="boot").poison(100, 0).captions.values()) == {"a photo of a boot"}


def test_which_samples_does_not_depend_on_trigger_target_or_captions() -> None:
    first = attack().poison(100, 0).captions.keys()
    other = attack(trigger=BadNet(), target="boot", caption_templates=("{}", "a {}")).poison(100, 0).captions.keys()
    # Attacks are compared on the same samples.
    assert first == other
