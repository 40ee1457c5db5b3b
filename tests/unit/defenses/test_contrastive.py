"""The three defenses of CleanCLIP's Table 1 are points of one line: FT at λ₂ = 0, SSL at λ₁ = 0."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bdray.config import build
from bdray.data.base import Pairs
from bdray.defenses.base import DefenderData, Defense
from bdray.defenses.cleanclip import CleanCLIP
from bdray.defenses.finetune import Finetune
from bdray.defenses.self_supervised import SelfSupervised
from bdray.exceptions import ConfigError
from bdray.testing import tiny_model, tiny_recipe, tiny_scenes, tiny_tokenizer
from bdray.training.session import Session

RECIPE = tiny_recipe()


@pytest.fixture(scope="module")
def pairs(cache: Path) -> Pairs:
    return tiny_scenes().load("finetune", cache)


def repaired(defense: Defense, pairs: Pairs) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    model = tiny_model()
    history = defense.run(model, DefenderData(clean=pairs), Session(tokenizer=tiny_tokenizer(), seed=0))
    return dict(model.state_dict()), history


@pytest.mark.parametrize(
    ("first", "second", "terms"),
    [
        (CleanCLIP(recipe=RECIPE, in_modal_weight=0), Finetune(recipe=RECIPE), {"clip_loss"}),
        (CleanCLIP(recipe=RECIPE, clip_weight=0), SelfSupervised(recipe=RECIPE), {"in_modal_loss"}),
    ],
)
def test_the_ends_of_the_line(first: Defense, second: Defense, terms: set[str], pairs: Pairs) -> None:
    (weights, history), (expected, expected_history) = repaired(first, pairs), repaired(second, pairs)
    # The same model to the bit, so a sweep over λ₂ that starts at 0 starts at FT.
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    # Only the terms in use are logged.
    assert set(history[0]) == set(expected_history[0]) == {"epoch", "loss", "train_seconds"} | terms


def test_cleanclip_logs_both_terms_and_their_weighted_sum(pairs: Pairs) -> None:
    _, history = repaired(CleanCLIP(recipe=RECIPE, clip_weight=0.5, in_modal_weight=3), pairs)
    # Equation 1.
    for entry in history:
        assert entry["loss"] == pytest.approx(0.5 * entry["clip_loss"] + 3 * entry["in_modal_loss"], rel=1e-5)


def test_a_defense_that_minimizes_nothing_is_refused() -> None:
    tree = {"type": "cleanclip", "recipe": {"epochs": 1, "batch_size": 2, "learning_rate": 1}, "clip_weight": 0}
    # At load, not as an index error in the middle of a training.
    with pytest.raises(ConfigError, match=r"one of clip_weight and in_modal_weight must be above 0\.$"):
        build(CleanCLIP, tree | {"in_modal_weight": 0}, "x")


def test_the_seed_of_the_session_decides_order_and_augmentations(pairs: Pairs) -> None:
    defense, models = CleanCLIP(recipe=RECIPE), []
    for seed in (0, 0, 1):
        model = tiny_model()
        defense.run(model, DefenderData(clean=pairs), Session(tokenizer=tiny_tokenizer(), seed=seed))
        models.append(model.state_dict()["visual.conv1.weight"])
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])
