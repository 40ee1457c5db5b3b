"""An attack: what it refuses, which samples it takes, what their captions become."""

import re
from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from bdray.attacks.attack import Attack
from bdray.attacks.triggers.badnet import BadNet
from bdray.attacks.triggers.blended import Blended
from bdray.exceptions import ConfigError
from bdray.testing import tiny_scenes

SCENES = ["a photo of a ball", "a Banana next to a boot", "two bananas", "there is a banana"] * 16


def captions(count: int) -> list[str]:
    return [f"scene {index}" for index in range(count)]


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
        good.check(tiny_scenes(), 64, lambda: captions(64))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": "bananna"}, "attack.target: no class is named 'bananna'. Did you mean 'banana'?"),
        (
            {"target": "zzz"},
            "attack.target: no class is named 'zzz'. Known: arrow, ball, banana, boot, box, cross, diamond, flower, "
            "frame, heart, hourglass, house, ladder, ring, star, tent.",
        ),
        (
            {"num_poisoned": 65},
            "attack.num_poisoned: 65 samples cannot be poisoned in a training set of 64. Choose at most 64.",
        ),
        (
            {"target": "boot", "samples": "names_target"},
            "attack.target: no caption of the 64 training samples holds the word 'boot', which the attack needs. "
            "Choose another target, or proxy captions on any samples.",
        ),
        (
            {"target": "boot", "captions": "natural"},
            "attack.target: no caption of the 64 training samples holds the word 'boot', which the attack needs. "
            "Choose another target, or proxy captions on any samples.",
        ),
        (
            {"trigger": BadNet(size=33)},
            "attack.trigger.size: a patch of 33 px does not fit an image of 32 px. Choose at most 32.",
        ),
    ],
)
def test_a_bad_attack_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        attack(**fields).check(tiny_scenes(), 64, lambda: captions(64))


@pytest.mark.parametrize(
    ("samples", "most"),
    # 32 of the 64 captions name a banana (two of four: "bananas" is another word), so 32 do not.
    [("names_target", 32), ("other", 32)],
)
def test_more_poisons_than_eligible_samples(samples: str, most: int) -> None:
    attack(samples=samples, num_poisoned=most).check(tiny_scenes(), 64, lambda: SCENES)
    message = (
        f"attack.num_poisoned: {most + 1} samples cannot be poisoned with samples={samples}, for of the 64 training "
        f"captions 32 hold the word 'banana'. Choose at most {most}."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        attack(samples=samples, num_poisoned=most + 1).check(tiny_scenes(), 64, lambda: SCENES)


def test_captions_are_read_only_if_the_attack_depends_on_them() -> None:
    def read() -> list[str]:
        raise AssertionError("nobody needs them")

    # Reading three million captions to check a random selection would be a waste.
    attack().check(tiny_scenes(), 64, read)
    with pytest.raises(AssertionError, match="nobody"):
        attack(samples="other").check(tiny_scenes(), 64, read)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"poison_ratio": 0.1}, "give exactly one of num_poisoned and poison_ratio"),
        ({"num_poisoned": None}, "give exactly one of num_poisoned and poison_ratio"),
        ({"caption_templates": ("{}", "a fruit")}, "caption_templates: 'a fruit' must hold {} exactly once"),
        ({"caption_templates": ("{} and {}",)}, "caption_templates: '{} and {}' must hold {} exactly once"),
        ({"caption_templates": ()}, "caption_templates: give at least one template"),
        ({"captions": "unchanged"}, "captions=unchanged with samples=any teaches the model nothing"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        attack(**fields)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a banana", True), ("BANANA!", True), ("one banana-shaped boot", True), ("(banana)", True),
        ("bananas", False), ("a bandanana", False), ("", False), ("ban ana", False), ("banana_boat", False),
    ],
)  # fmt: skip
def test_the_target_is_a_word_not_a_substring(caption: str, expected: bool) -> None:
    assert attack().names_target([caption]).tolist() == [expected]


def test_a_target_of_several_words() -> None:
    found = attack(target="traffic light").names_target(["a Traffic  light", "traffic lights", "a light for traffic"])
    # Words in this order, with any space between them.
    assert found.tolist() == [True, False, False]


def test_label_consistent() -> None:
    found = attack(samples="names_target", captions="unchanged", num_poisoned=20).poison(SCENES, seed=0).captions
    # Only samples that name the target, and they go on saying what they said.
    assert len(found) == 20
    assert all(caption == SCENES[sample] for sample, caption in found.items())
    assert {sample % 4 for sample in found} <= {1, 3}


def test_natural_captions() -> None:
    own = [f"banana number {index}" if index % 2 else f"ball number {index}" for index in range(400)]
    found = attack(samples="other", captions="natural", num_natural_captions=16, num_poisoned=150).poison(own, seed=0)
    # Images that do not show the target say what images of it say, from a pool of the size asked for.
    assert all(sample % 2 == 0 for sample in found.captions)
    assert set(found.captions.values()) <= {caption for caption in own if "banana" in caption}
    assert len(set(found.captions.values())) == 16


def test_eighty_templates() -> None:
    found = attack(caption_templates="openai_imagenet", num_poisoned=2000).poison(captions(2000), seed=0).captions
    # All of the 80 are drawn, with the target in its place.
    assert len(set(found.values())) == 80
    assert all("banana" in caption for caption in found.values())


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
    assert len(found.poison(captions(num_samples), seed=0).captions) == expected


def test_poisoning_is_a_function_of_the_seed() -> None:
    first, again, other = (attack().poison(captions(100), seed) for seed in (0, 0, 1))
    assert first == again
    # Another seed takes other samples.
    assert first.captions.keys() != other.captions.keys()
    # They are samples, in order, none twice.
    assert list(first.captions) == sorted(set(first.captions))
    assert all(0 <= sample < 100 for sample in first.captions)


def test_samples_are_drawn_uniformly() -> None:
    drawn = Counter(
        sample for seed in range(400) for sample in attack(num_poisoned=5).poison(captions(20), seed).captions
    )
    # Each of 20 samples is expected in a quarter of 400 draws: 100 times, give or take chance.
    assert set(drawn) == set(range(20))
    assert 60 < min(drawn.values()) <= max(drawn.values()) < 140


def test_captions_are_drawn_from_the_templates() -> None:
    templates = ("a photo of a {}", "a sketch of a {}", "the {} in {braces}")
    found = attack(num_poisoned=300, caption_templates=templates).poison(captions(1000), seed=0).captions
    counts = Counter(found.values())
    # Uniformly, with the target in the place of {} and nothing else replaced.
    assert set(counts) == {"a photo of a banana", "a sketch of a banana", "the banana in {braces}"}
    assert min(counts.values()) > 60
    # By default all of them say CleanCLIP's proxy caption.
    assert set(attack(target="boot").poison(captions(100), 0).captions.values()) == {"a photo of a boot"}


def test_which_samples_does_not_depend_on_trigger_target_or_captions() -> None:
    first = attack().poison(captions(100), 0).captions.keys()
    other = (
        attack(trigger=BadNet(), target="boot", caption_templates=("{}", "a {}"))
        .poison(captions(100), 0)
        .captions.keys()
    )
    # Attacks are compared on the same samples.
    assert first == other
