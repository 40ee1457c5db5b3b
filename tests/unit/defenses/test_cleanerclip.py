"""CleanerCLIP: CleanCLIP with extra batches of sub-captions, and what it refuses."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bdray import config
from bdray.checkpoint import History
from bdray.data.base import Pairs
from bdray.defenses.base import DefenderData, Defense, Sizes
from bdray.defenses.cleanclip import CleanCLIP
from bdray.defenses.cleanerclip import AUGMENTATIONS, CleanerCLIP
from bdray.exceptions import ConfigError, DataError
from bdray.testing import tiny_model, tiny_recipe, tiny_scenes, tiny_tokenizer
from bdray.training.session import Session

SIZES = Sizes(trained=1000, clean=64)
RECIPE = tiny_recipe()


@pytest.fixture(scope="module")
def pairs(cache: Path) -> Pairs:
    return tiny_scenes().load("finetune", cache)


def repaired(defense: Defense, pairs: Pairs, **fields: Any) -> tuple[dict[str, Tensor], History]:
    model = tiny_model()
    history = defense.run(model, DefenderData(clean=pairs), Session(tokenizer=tiny_tokenizer(), seed=0, **fields))
    return dict(model.state_dict()), history


def without_time(history: History) -> History:
    return [{name: value for name, value in entry.items() if name != "train_seconds"} for entry in history]


@pytest.mark.parametrize("nothing", [{"factual_weight": 0}, {"num_augmented": 0}])
def test_without_sub_captions_it_is_cleanclip(nothing: Mapping[str, Any], pairs: Pairs) -> None:
    defense = CleanerCLIP(recipe=RECIPE, in_modal_weight=2, **nothing)
    reference = CleanCLIP(recipe=RECIPE, in_modal_weight=2)
    weights, history = repaired(defense, pairs)
    expected, expected_history = repaired(reference, pairs)
    # The same model to the bit, at the same cost: a sweep that starts at 0 starts at CleanCLIP.
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    assert without_time(history) == without_time(expected_history)
    assert defense.images(SIZES) == reference.images(SIZES)


def test_all_three_terms_are_logged(pairs: Pairs) -> None:
    _, history = repaired(CleanerCLIP(recipe=RECIPE, num_augmented=32, factual_weight=3, in_modal_weight=2), pairs)
    for entry in history:
        # Two of six batches are extra ones; the total is the mean over all.
        usual, extra = entry["clip_loss"] + 2 * entry["in_modal_loss"], 3 * entry["factual_loss"]
        assert entry["loss"] == pytest.approx((4 * usual + 2 * extra) / 6, rel=1e-5)


@pytest.mark.parametrize("variant", ["image_to_text", "both", "own_pair"])
def test_images_come_to_tell_sub_captions_apart(variant: Any, pairs: Pairs) -> None:
    recipe = tiny_recipe(epochs=8, learning_rate=5e-3)
    defense = CleanerCLIP(recipe=recipe, clip_weight=1e-9, in_modal_weight=0, num_augmented=64, variant=variant)
    _, history = repaired(defense, pairs)
    losses = [entry["factual_loss"] for entry in history]
    # With next to nothing else to minimize, L_FC falls below that of guessing.
    guess = {"image_to_text": (torch.tensor([32.0, 16.0]).log().sum() / 2).item(), "both": 3.466, "own_pair": 0.694}
    assert losses[-1] < losses[0]
    assert losses[-1] < guess[variant]


def test_cost_counts_images_of_extra_batches(pairs: Pairs) -> None:
    seen: list[int] = []
    model = tiny_model()
    model.visual.register_forward_pre_hook(lambda tower, images: seen.append(len(images[0])))
    for number, augmented in ((20, 32), (1000, 64)):
        defense = CleanerCLIP(recipe=RECIPE, num_augmented=number)
        seen.clear()
        defense.run(model, DefenderData(clean=pairs), Session(tokenizer=tiny_tokenizer(), seed=0))
        # Two epochs of 64 originals, 64 views, and K in whole batches; all that there are for a K above that.
        assert defense.images(SIZES) == sum(seen) == 2 * (128 + augmented)


def test_first_sub_captions_become_a_file(pairs: Pairs, tmp_path: Path) -> None:
    repaired(CleanerCLIP(recipe=tiny_recipe(epochs=1), num_augmented=32), pairs, folder=tmp_path)
    with (tmp_path / AUGMENTATIONS).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # Captions of the clean pairs with what was made of them.
    assert len(rows) == 32
    assert all(row["caption"] == pairs.captions[int(row["sample"])] for row in rows)
    assert all(row["factual"] != row["counterfactual"] for row in rows)


def test_more_samples_than_there_are_are_refused() -> None:
    CleanerCLIP(recipe=RECIPE, num_augmented=64).check(SIZES)
    with pytest.raises(ConfigError, match=r"defense\.num_augmented: 65 samples cannot be augmented in an epoch of 64"):
        CleanerCLIP(recipe=RECIPE, num_augmented=65).check(SIZES)
    # Where nothing is augmented, their number does not matter.
    CleanerCLIP(recipe=RECIPE, num_augmented=65, factual_weight=0).check(SIZES)


def test_captions_without_words_are_skipped_or_refused(pairs: Pairs) -> None:
    some = ["" if index < 40 else caption for index, caption in enumerate(pairs.captions)]
    defense = CleanerCLIP(recipe=tiny_recipe(epochs=1))
    _, history = repaired(defense, Pairs(pairs.images, some, pairs.labels))
    # 24 captions are left, one extra batch.
    assert history[0]["factual_loss"] > 0
    none = Pairs(pairs.images, [""] * len(pairs), pairs.labels)
    with pytest.raises(DataError, match="cleanerclip needs 16 captions that have words, a batch"):
        repaired(defense, none)


def test_a_defense_without_cleanclip_is_refused() -> None:
    tree = {"type": "cleanerclip", "recipe": config.dump(RECIPE), "clip_weight": 0, "in_modal_weight": 0}
    with pytest.raises(ConfigError, match=r"one of clip_weight and in_modal_weight must be above 0\.$"):
        config.build(CleanerCLIP, tree, "x")
