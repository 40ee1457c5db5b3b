"""Attacks in the pipeline: learned triggers, trials without a defense, clean data and its overlap, what is recorded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bdray.data.subset import chosen_samples
from bdray.exceptions import ConfigError
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages import (
    EXAMPLES,
    Context,
    Defend,
    Evaluate,
    LearnTrigger,
    PoisonVictim,
    Pretrain,
    poisoned_set,
    ready_trigger,
)
from bdray.pipeline.store import Store

Make = Callable[..., Experiment]
BADCLIP = {"attack.trigger": {"type": "badclip", "size": 6, "epochs": 2, "num_samples": 16, "batch_size": 8}}
SSBA = {"attack.trigger": {"type": "ssba", "num_bits": 4, "epochs": 1, "num_samples": 16, "batch_size": 8}}


@pytest.fixture
def context(tmp_path: Path, cache: Path) -> Context:
    return Context(Store(str(tmp_path / "store"), cache), cache)


@pytest.mark.parametrize(("changes", "needs_base"), [(BADCLIP, True), (SSBA, False)])
def test_a_trigger_is_learned_once_and_before_it_is_used(
    make: Make, context: Context, changes: dict[str, Any], *, needs_base: bool
) -> None:
    first, second = make(changes), make({**changes, "seed": 1})
    stage = LearnTrigger(first)
    # All seeds of a study share it; a model is an input only where the trigger is learned against one.
    assert LearnTrigger(second).key == stage.key
    assert [type(found) for found in stage.inputs] == ([Pretrain] if needs_base else [])
    # Victims and evaluations need it, and find it made.
    assert stage.key in [found.key for found in PoisonVictim(first).inputs]
    Evaluate(first, PoisonVictim(first)).result(context)
    assert context.store.find("trigger", stage.key) is not None
    # What is applied afterwards is what was learned, whoever loads it.
    images = poisoned_set(first, context).pairs.images[:4]
    shown = [np.asarray(draw(ready_trigger(experiment, context), images)) for experiment in (first, second)]
    assert (shown[0] == shown[1]).all()


def draw(trigger: Any, images: Any) -> Image.Image:
    from bdray.evaluation.examples import draw

    return draw(images, trigger)


def test_a_trigger_that_is_learned_against_a_model_needs_one(make: Make, cache: Path) -> None:
    with pytest.raises(ConfigError, match="badclip is learned against a clean model"):
        make({**BADCLIP, "pretrain": None}).check(cache)


def test_a_victim_records_how_much_was_poisoned(make: Make, context: Context) -> None:
    found = PoisonVictim(make({"attack.num_poisoned": None, "attack.poison_ratio": 0.1})).result(context)
    # Count and share, whichever of them was asked for, after rounding.
    assert found["poisoning"] == {"num_poisoned": 6, "num_samples": 64, "poison_ratio": 6 / 64}


def test_examples_show_clean_triggered_and_difference(make: Make, context: Context) -> None:
    experiment = make()
    evaluation = Evaluate(experiment, PoisonVictim(experiment))
    evaluation.result(context)
    picture = np.asarray(Image.open(context.store.fetch("evaluate", evaluation.key, EXAMPLES)))
    # Six columns of three rows of 32 pixels.
    assert picture.shape == (3 * 32, 6 * 32, 3)
    clean, triggered, difference = (picture[row * 32 : (row + 1) * 32] for row in range(3))
    # The first row is the test split's beginning, and the difference is gray wherever the trigger did nothing.
    images = experiment.data.load("test", context.cache).images[:6]
    assert (clean == np.concatenate(list(images), axis=2).transpose(1, 2, 0)).all()
    same = (clean == triggered).all(-1)
    assert set(np.unique(difference[same])) <= {127, 128}
    assert 0 < (~same).mean() < 0.2


def test_a_trial_may_end_with_the_victim(make: Make, context: Context, cache: Path) -> None:
    experiment = make({"defense": None})
    experiment.check(cache)
    metrics = Evaluate(experiment, PoisonVictim(experiment)).result(context)["metrics"]
    assert {"clean_accuracy_top1", "attack_success_rate_top1"} <= set(metrics)
    # The victim is the one that a study with a defense has.
    assert PoisonVictim(experiment).key == PoisonVictim(make()).key


def test_a_base_is_judged_without_the_attack(make: Make, context: Context) -> None:
    first = Pretrain(make()).result(context)["history"]
    # It is shared by all attacks, so nothing in it may tell of one.
    assert all("clean_accuracy_top1" in epoch and "attack_success_rate_top1" not in epoch for epoch in first)


@pytest.mark.parametrize("source", ["finetune", "train", "train_unpoisoned"])
def test_clean_data_and_their_overlap_with_the_poisoned_set(make: Make, context: Context, source: str) -> None:
    experiment = make({"defense.clean_data": source, "defense.num_samples": 40, "attack.num_poisoned": 20})
    found = Defend(experiment).result(context)["clean_data"]
    assert found["num_samples"] == 40
    if source == "train":
        # 40 of 64 at random, of which 20 were poisoned: some are bound to be among them.
        assert 4 < found["num_poisoned_originals"] < 20
    else:
        assert found["num_poisoned_originals"] == 0


def test_attacker_and_defender_draw_independently() -> None:
    first, second = chosen_samples(10_000, 2000, 0), chosen_samples(10_000, 2000, 0, salt=1)
    # A fifth of a fifth in common: 400, give or take chance.
    assert 340 < len(np.intersect1d(first, second)) < 460


def test_the_manifest_is_json(make: Make, context: Context) -> None:
    experiment = make({"defense.clean_data": "train"})
    # Whatever is noted can be written and read back.
    manifest = Defend(experiment).result(context)
    assert json.loads(json.dumps(manifest)) == manifest
