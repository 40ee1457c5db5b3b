"""Learning rates at steps worked out by hand, and which parameters are decayed."""

from math import cos, pi

import pytest
import torch
from torch import nn

from bdray.testing import tiny_model
from bdray.training.optim import Recipe


def recipe(**fields: object) -> Recipe:
    return Recipe(**({"epochs": 10, "batch_size": 64, "learning_rate": 1e-5} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        # 10 epochs of 10 steps, 20 of them warm-up at a peak of 1: a straight line that never is 0 ...
        (0, 1 / 20),
        (1, 2 / 20),
        (18, 19 / 20),
        (19, 1),
        # ... then half a cosine over the other 80, from the peak through its half to (nearly) 0.
        (20, 1),
        (40, 0.5 * (1 + cos(pi / 4))),
        (60, 0.5),
        (99, 0.5 * (1 + cos(pi * 79 / 80))),
    ],
)
def test_the_papers_schedule(step: int, expected: float) -> None:
    found = recipe(learning_rate=1.0, warmup_steps=20).rate(step, steps_per_epoch=10)
    assert found == pytest.approx(expected, abs=1e-12)


def test_without_warmup_the_cosine_starts_at_the_peak() -> None:
    found = recipe(learning_rate=2.0, warmup_steps=0)
    assert found.rate(0, 10) == 2.0
    assert found.rate(50, 10) == pytest.approx(1.0)


def test_warmup_longer_than_the_training_only_rises() -> None:
    rates = [recipe(learning_rate=1.0, warmup_steps=1000).rate(step, 10) for step in range(100)]
    assert rates == pytest.approx([(step + 1) / 1000 for step in range(100)])


def test_the_public_codes_schedule_skips_warmup_and_rises_at_the_end() -> None:
    # CleanCLIP's finetuning: 100K pairs in batches of 64 make 1562 steps, 10 epochs, peak 1e-5, 50 warm-up steps.
    steps, found = 100_000 // 64, recipe(warmup_steps=50, schedule="cleanclip_repo")
    rates = [found.rate(step, steps) for step in range(10 * steps)]
    # It counts epochs from 1: the warm-up lies in an epoch that never happens, so the first rate is 9.77e-6,
    assert rates[0] == pytest.approx(1e-5 * 0.5 * (1 + cos(pi * (1562 - 50) / (15620 - 50))), abs=1e-18)
    assert f"{rates[0]:.2e}" == "9.77e-06"
    # falls to 0 at the start of the last epoch,
    assert rates[9 * steps] == pytest.approx(0, abs=1e-18)
    assert min(rates) == rates[9 * steps]
    # and rises to 2.5e-7 from there, because the cosine goes on beyond its half period.
    assert rates[-1] == max(rates[9 * steps :])
    assert f"{rates[-1]:.1e}" == "2.5e-07"
    # The paper's text, for the same numbers: warm-up from 2e-7, peak, then all the way down.
    paper = [recipe(warmup_steps=50).rate(step, steps) for step in range(10 * steps)]
    assert paper[0] == pytest.approx(2e-7)
    assert max(paper) == paper[49] == pytest.approx(1e-5)
    assert paper[-1] < 1e-12
    # The two differ by one epoch, wherever both are past the warm-up.
    assert rates[: 9 * steps] == pytest.approx(paper[steps:], abs=1e-18)


def test_pretraining_in_the_public_code_starts_at_the_peak() -> None:
    # 3M pairs in batches of 128, 64 epochs, peak 5e-4, 10,000 warm-up steps: all of them skipped.
    first = recipe(epochs=64, learning_rate=5e-4, warmup_steps=10_000, schedule="cleanclip_repo").rate(0, 23_437)
    assert f"{first:.2e}" == "5.00e-04"


class Named(nn.Module):
    """Parameters by the names that open_clip and CleanCLIP use."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.bn1 = nn.BatchNorm2d(2)
        self.ln_final = nn.LayerNorm(2)
        self.projection = nn.Linear(2, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_no_decay_goes_by_name() -> None:
    model = Named()
    decayed, kept = recipe(weight_decay=0.2, beta1=0.8, beta2=0.9, epsilon=1e-6).optimizer(model).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    # Only matrices are decayed; norms, biases and the temperature are not; frozen parameters are not there at all.
    assert [names[id(parameter)] for parameter in decayed["params"]] == ["projection.weight"]
    assert [names[id(parameter)] for parameter in kept["params"]] == [
        "logit_scale",
        "bn1.weight",
        "bn1.bias",
        "ln_final.weight",
        "ln_final.bias",
        "projection.bias",
    ]
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.2, 0.0)
    # Both groups have the recipe's other numbers.
    assert all((group["betas"], group["eps"]) == ((0.8, 0.9), 1e-6) for group in (decayed, kept))


def test_what_the_names_overlook_in_a_resnet() -> None:
    model = tiny_model("resnet")
    decayed = {id(parameter) for parameter in recipe().optimizer(model).param_groups[0]["params"]}
    vectors = {name for name, value in model.named_parameters() if value.ndim == 1 and id(value) in decayed}
    # As in CleanCLIP's public code, the rule misses one kind of batch norm: the one in a shortcut.
    assert vectors == {f"visual.layer{layer}.0.downsample.1.weight" for layer in (1, 2, 3, 4)}
