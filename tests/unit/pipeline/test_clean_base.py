"""The trigger on the clean model: measured once for all seeds and defenses, of any clean model that there is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray.models import weights
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages import Context, Evaluate, PoisonVictim, Pretrain, evaluate_base
from bdray.pipeline.store import Store

Make = Callable[..., Experiment]
BADCLIP = {
    "attack.trigger": {"type": "badclip", "size": 6, "epochs": 1, "num_samples": 16, "batch_size": 8},
}


@pytest.fixture
def context(tmp_path: Path, cache: Path) -> Context:
    return Context(Store(str(tmp_path / "store"), cache), cache)


def key(experiment: Experiment) -> str:
    found = evaluate_base(experiment, "test")
    assert found is not None
    return found.key


def test_it_is_shared_by_seeds_victims_and_defenses(make: Make) -> None:
    # None of them changes what a trigger does to a model that they do not touch;
    others = ({"seed": 1}, {"victim.recipe.epochs": 3}, {"attack.num_poisoned": 9}, {"defense": None})
    assert {key(make(change)) for change in others} == {key(make())}
    # the trigger, the target and the base do.
    changes = ({"attack.trigger.size": 5}, {"attack.target": "house"}, {"pretrain.seed": 1}, {"data.num_test": 48})
    assert len({key(make(change)) for change in ({}, *changes)}) == 5


def test_it_has_a_key_of_its_own(make: Make) -> None:
    experiment = make()
    assert key(experiment) != Evaluate(experiment, PoisonVictim(experiment)).key


@pytest.mark.parametrize("changes", [{}, BADCLIP], ids=["fixed", "learned"])
def test_the_clean_model_is_judged_with_the_trigger(make: Make, context: Context, changes: dict[str, Any]) -> None:
    experiment = make(changes)
    evaluation = evaluate_base(experiment, "test")
    assert evaluation is not None
    metrics = evaluation.result(context)["metrics"]
    # By what a victim is judged by, and on as many images.
    assert {"attack_success_rate_top1", "clean_accuracy_top1", "embedding_distance"} <= set(metrics)
    # Without poisoning, the trigger moves features by what the base itself makes of it, and not by nothing.
    assert metrics["embedding_distance"] > 0
    assert context.store.find("victim", PoisonVictim(experiment).key) is None


def test_a_file_of_weights_is_a_base_too(make: Make, context: Context, tmp_path: Path) -> None:
    trained = make()
    Pretrain(trained).result(context)
    path = tmp_path / "clean.safetensors"
    weights.save(weights.load(Pretrain(trained).weights(context)), path)
    experiment = make({"pretrain": None, "model.weights": str(path)})
    own, given = evaluate_base(trained, "test"), evaluate_base(experiment, "test")
    assert own is not None
    assert given is not None
    # The same model by another way, with the same numbers under a key of its own; nothing was trained for it.
    assert given.key != own.key
    assert given.result(context)["metrics"] == own.result(context)["metrics"]
    assert given.upstream() == []


def test_metrics_of_attacked_models_are_not_asked_of_it(make: Make) -> None:
    plain, attacked = {"type": "attack_success_rate"}, {"type": "poison_detection"}
    experiments = [make({"evaluation.metrics": metrics}) for metrics in ([plain], [plain, attacked])]
    # One that reads the poisoned set would need it anew for every seed.
    assert key(experiments[0]) == key(experiments[1])


def test_random_weights_are_no_base(make: Make) -> None:
    assert evaluate_base(make({"pretrain": None}), "test") is None


def test_evaluations_count_their_images(make: Make, context: Context) -> None:
    experiment = make()
    counts = Evaluate(experiment, PoisonVictim(experiment)).result(context)["counts"]
    labels = experiment.data.load("test", context.cache).labels
    target = experiment.data.class_names().index(experiment.attack.target)
    # What rates are shares of: of all, and of those that do not show the target anyway.
    assert counts == {"num_images": 32, "num_non_target_images": 32 - list(labels).count(target)}
