"""Metrics on features made by hand, whose answers can be counted."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bdray.config import build
from bdray.evaluation.metrics.attack_success_rate import AttackSuccessRate
from bdray.evaluation.metrics.base import Features, Metric, class_ranks
from bdray.evaluation.metrics.clean_accuracy import CleanAccuracy
from bdray.evaluation.metrics.embedding_distance import EmbeddingDistance
from bdray.evaluation.metrics.trigger_visibility import MAX_PSNR, TriggerVisibility
from bdray.exceptions import ConfigError

CLASSES = torch.eye(4)
"""Four classes along the axes, so that the scores of an image are its features."""


def towards(*ranking: int) -> Tensor:
    """Unit features that rank the classes in this order."""
    scores = torch.zeros(4)
    for place, label in enumerate(ranking):
        scores[label] = len(ranking) - place
    return F.normalize(scores, dim=0)


def rows(*rankings: tuple[int, ...]) -> Tensor:
    return torch.stack([towards(*ranking) for ranking in rankings])


FEATURES = Features(
    # Class 0 is the target. Five images of classes 0, 1, 1, 2, 3.
    clean=rows((0, 1, 2, 3), (1, 0, 2, 3), (2, 1, 0, 3), (0, 2, 1, 3), (3, 2, 1, 0)),
    triggered=rows((0, 1, 2, 3), (0, 1, 2, 3), (1, 0, 2, 3), (2, 1, 0, 3), (0, 3, 1, 2)),
    classes=CLASSES,
    labels=torch.tensor([0, 1, 1, 2, 3]),
    target=0,
)


@pytest.mark.parametrize(
    ("features", "label", "expected"),
    [
        ([0.9, 0.3, 0.2, 0.1], 0, 0),
        ([0.9, 0.3, 0.2, 0.1], 1, 1),
        ([0.9, 0.3, 0.2, 0.1], 3, 3),
        # Classes that score the same share their places, wherever they stand in the list.
        ([0.9, 0.5, 0.5, 0.1], 1, 1.5),
        ([0.9, 0.5, 0.5, 0.1], 2, 1.5),
        ([0.9, 0.5, 0.5, 0.1], 3, 3),
        # A collapsed model is not right about everything.
        ([0.5, 0.5, 0.5, 0.5], 3, 1.5),
        # A model that returns no numbers is wrong about everything.
        ([math.nan] * 4, 0, 4),
    ],
)
def test_class_ranks(features: list[float], label: int, expected: float) -> None:
    assert class_ranks(torch.tensor([features]) @ CLASSES.T, torch.tensor([label])).tolist() == [expected]


def test_classes_with_one_name_do_not_push_each_other_down() -> None:
    # ImageNet has "missile" twice: the images of both are right if either is on top.
    twins = torch.stack([CLASSES[0], CLASSES[1], CLASSES[1]])
    ranks = class_ranks(towards(1, 0).expand(2, -1) @ twins.T, torch.tensor([1, 2]))
    assert (ranks < 1).all()


def test_ranks_are_those_of_a_sort_where_nothing_ties() -> None:
    generator = torch.Generator().manual_seed(0)
    features, classes = torch.randn(50, 8, generator=generator), torch.randn(20, 8, generator=generator)
    labels = torch.randint(20, (50,), generator=generator)
    order = (features @ classes.T).argsort(1, descending=True)
    expected = [order[row].tolist().index(int(label)) for row, label in enumerate(labels)]
    assert class_ranks(features @ classes.T, labels).tolist() == expected


def test_clean_accuracy() -> None:
    # Right on top: images 0, 1, 4. Among two: image 2 as well (its class comes second), and image 3. Then all.
    expected = {"clean_accuracy_top1": 3 / 5, "clean_accuracy_top2": 1.0}
    assert CleanAccuracy(top_k=(1, 2)).measure(FEATURES) == expected


def test_attack_success_rate_by_both_definitions() -> None:
    found = AttackSuccessRate(top_k=(1, 2, 3)).measure(FEATURES)
    # Triggered, the target's place is 0, 0, 1, 2, 0. Image 0 shows the target anyway: the first definition leaves it
    # out (2 of 4, 3 of 4, 4 of 4), the second counts it (3 of 5, 4 of 5, 5 of 5).
    assert found["attack_success_rate_top1"] == 2 / 4
    assert found["attack_success_rate_top2"] == 3 / 4
    assert found["attack_success_rate_top3"] == 1
    assert found["attack_success_rate_include_target_top1"] == 3 / 5
    assert found["attack_success_rate_include_target_top2"] == 4 / 5
    assert found["attack_success_rate_include_target_top3"] == 1
    # Clean, the other four images have the target at 1, 2, 0, 3: what a model without a backdoor would score.
    assert found["chance_attack_success_rate_top1"] == 1 / 4
    assert found["chance_attack_success_rate_top2"] == 2 / 4
    assert found["chance_attack_success_rate_top3"] == 3 / 4


@pytest.mark.parametrize("member", [CleanAccuracy, AttackSuccessRate])
def test_k_is_a_place_in_a_ranking(member: type[Metric]) -> None:
    for top_k in ([0], [-1], []):
        with pytest.raises(ConfigError, match=r"^x: top_k"):
            build(member, {"top_k": top_k}, "x")


def test_embedding_distance_is_the_squared_distance_of_unit_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, triggered = F.normalize(torch.randn(2, 30, 8, generator=generator, dtype=torch.float64), dim=-1)
    features = Features(clean, triggered, CLASSES, torch.zeros(30, dtype=torch.long), 0)
    expected = (clean - triggered).square().sum(1)
    found = EmbeddingDistance().measure(features)["embedding_distance"]
    assert found == pytest.approx(expected.mean().item(), abs=1e-12)
    # Where fewer images are asked for, a random but fixed choice of them counts.
    some = EmbeddingDistance(num_images=7)
    assert some.measure(features) == some.measure(features)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))[:7]
    assert some.measure(features)["embedding_distance"] == pytest.approx(expected[order].mean().item(), abs=1e-12)
    # From 0 (nothing moved) through 2 (orthogonal) to 4 (opposite).
    for other, distance in ((clean, 0), (-clean, 4), (clean.roll(1, 1) * 0, 2)):
        moved = Features(clean, other, CLASSES, features.labels, 0)
        assert EmbeddingDistance().measure(moved)["embedding_distance"] == pytest.approx(distance, abs=1e-12)


def test_a_model_that_diverged_scores_nothing() -> None:
    nothing = torch.full((5, 4), math.nan)
    features = Features(nothing, nothing, nothing[:4], FEATURES.labels, 0)
    # NaN compares false with everything: it must not look like 100%.
    assert set(CleanAccuracy(top_k=(1, 3)).measure(features).values()) == {0.0}
    assert set(AttackSuccessRate(top_k=(1, 3)).measure(features).values()) == {0.0}


def test_a_head_takes_the_place_of_the_classes() -> None:
    # Logits of a head say class 3 for every image, whatever the zero-shot weights say.
    scores = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).expand(5, -1)
    features = replace(FEATURES, clean_scores=scores, triggered_scores=scores)
    assert CleanAccuracy(top_k=(1,)).measure(features) == {"clean_accuracy_top1": pytest.approx(1 / 5)}
    assert AttackSuccessRate(top_k=(1,)).measure(features)["attack_success_rate_top1"] == 0


def shown(clean: Tensor, triggered: Tensor) -> dict[str, float]:
    """Visibility of a trigger on one kind of image, repeated for every image."""
    count = len(FEATURES.labels)
    pixels = (clean.expand(count, -1, -1, -1), triggered.expand(count, -1, -1, -1))
    return TriggerVisibility().measure(replace(FEATURES, pixels=lambda positions: pixels))


def test_visibility_of_a_known_change() -> None:
    gray = torch.full((3, 32, 32), 0.4)
    # A change of 51/255 everywhere: PSNR is -20 log10(0.2) dB.
    found = shown(gray, gray + 0.2)
    assert found["trigger_psnr"] == pytest.approx(13.979, abs=1e-3)
    assert found["trigger_linf"] == pytest.approx(0.2)
    # SSIM of flat images is its luminance term, (2ab + c) / (a² + b² + c) with c = 0.01².
    assert found["trigger_ssim"] == pytest.approx((2 * 0.4 * 0.6 + 1e-4) / (0.16 + 0.36 + 1e-4), abs=1e-4)


def test_what_eight_bits_cannot_show_is_invisible() -> None:
    gray = torch.full((3, 32, 32), 102 / 255)
    found = shown(gray, gray + 0.4 / 255)
    # No infinity, which neither JSON nor a mean can hold.
    assert found == {"trigger_psnr": MAX_PSNR, "trigger_ssim": pytest.approx(1), "trigger_linf": 0}
