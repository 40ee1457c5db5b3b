"""Linear probes: they learn what can be learned, by the papers' schedule, and judge as zero-shot metrics do."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bdray.data.base import Pairs, Split
from bdray.data.scenes import Scenes
from bdray.evaluation import probe
from bdray.evaluation.material import Labeled
from bdray.evaluation.metrics.base import Features
from bdray.evaluation.metrics.linear_probe import LinearProbe
from bdray.exceptions import DataError

CLASSES, WIDTH = 4, 6


def separable(count: int, seed: int = 0) -> Labeled:
    """Classes around four axes, ten units from the origin."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    features = torch.randn(count, WIDTH, generator=generator)
    features[torch.arange(count), labels] += 10
    return Labeled(features, labels)


def paper(given: Labeled, **fields: float) -> probe.Classifier:
    settings = {"epochs": 10, "batch_size": 16, "learning_rate": 0.05, "weight_decay": 0.01, "seed": 0} | fields
    return probe.train_paper(given, CLASSES, **settings)  # type: ignore[arg-type]


def test_separable_classes_are_told_apart() -> None:
    train, test = separable(200), separable(100, seed=1)
    regression, strength = probe.train_lbfgs(train, strengths=[1e-3, 1.0], max_steps=100, seed=0)
    # Both protocols reach 100% on images that they never saw.
    assert (paper(train)(test.features) == test.labels).all()
    assert (regression(test.features) == test.labels).all()
    # Of strengths that do as well, the first one is taken.
    assert strength == 1e-3


def test_the_strength_is_chosen_on_held_out_images() -> None:
    train = separable(40)
    # Many labels are random, and there are more features than images: a weak penalty learns them by heart.
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(40, 200, generator=generator) * 3
    wrong = torch.rand(40, generator=generator) < 0.4
    labels = torch.where(wrong, torch.randint(CLASSES, (40,), generator=generator), train.labels)
    given = Labeled(torch.cat([train.features, noise], 1), labels)
    classify, weak = probe.train_lbfgs(given, strengths=[1e6], max_steps=2000, seed=0)
    _, chosen = probe.train_lbfgs(given, strengths=[1e6, 1e-3], max_steps=2000, seed=0)
    assert weak == 1e6
    assert (classify(given.features) == labels).all()
    # The training images themselves would have chosen that one.
    assert chosen == 1e-3


def test_training_is_a_function_of_its_arguments() -> None:
    given, test = separable(50), torch.randn(500, WIDTH, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = paper(given, epochs=1)(test)
    # The global generator is neither read nor moved, and another seed is another classifier.
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(paper(given, epochs=1)(test), first)
    assert not torch.equal(paper(given, epochs=1, seed=1)(test), first)


def test_the_schedule_is_a_cosine_without_warmup(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[float], list[float]]] = []

    class Watched(torch.optim.AdamW):
        def step(self, closure: None = None) -> None:  # type: ignore[override]
            groups = self.param_groups
            seen.append(([group["lr"] for group in groups], [group["weight_decay"] for group in groups]))
            super().step(closure)

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    paper(separable(50), epochs=2, batch_size=20, learning_rate=0.005)
    # Fifty images are three batches, the last one of ten; from the first step on the rate falls to nearly zero.
    assert len(seen) == 6
    for step, (rates, decays) in enumerate(seen):
        assert rates == pytest.approx([0.005 * (1 + math.cos(math.pi * step / 6)) / 2] * 2)
        assert decays == [0.01, 0.0]  # the bias is not decayed


class Known:
    """Material whose training features are separable; it draws nothing."""

    def labeled(self, split: Split, count: int | None, seed: int) -> Labeled:
        return separable(200)


@pytest.mark.parametrize("protocol", ["paper", "lbfgs"])
def test_the_metric_counts_as_the_zero_shot_ones(protocol: str) -> None:
    clean = separable(8, seed=1)
    lengths = clean.features.norm(dim=1)
    # Five of the six images of other classes are moved to class 2, among them none that shows it; one stays.
    triggered = clean.features.clone()
    triggered[[0, 1, 3, 4, 5]] = separable(8, seed=2).features[2]
    features = Features(
        clean=clean.features / lengths[:, None],
        triggered=triggered / triggered.norm(dim=1, keepdim=True),
        classes=torch.eye(CLASSES, WIDTH),
        labels=clean.labels,
        target=2,
        clean_lengths=lengths,
        triggered_lengths=triggered.norm(dim=1),
        material=Known(),  # type: ignore[arg-type]
    )
    probe_metric = LinearProbe(protocol=protocol, learning_rate=0.05)  # type: ignore[arg-type]
    numbers = probe_metric.measure(features)
    # Without the two images that show the target 5 of 6, with them 7 of 8.
    assert list(numbers.values()) == pytest.approx([1.0, 5 / 6, 7 / 8])
    assert tuple(numbers) == probe_metric.names


def test_unlabeled_training_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = np.full(4, -1)
    monkeypatch.setattr(Scenes, "load", lambda *_: Pairs(np.zeros((4, 3, 32, 32), np.uint8), [""] * 4, nothing))
    with pytest.raises(DataError, match=r"evaluation\.metrics\.linear_probe\.split: the train split .* of 0"):
        LinearProbe(split="train").check(Scenes(), Path())
