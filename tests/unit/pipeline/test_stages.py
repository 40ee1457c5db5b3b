"""Keys say exactly which stages a change concerns, and a stage computes whatever it needs, once."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bdray import config
from bdray.data.subset import chosen_samples
from bdray.models import weights
from bdray.models.clip import hash_of
from bdray.models.execution import Execution
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages import Context, Defend, Evaluate, PoisonVictim, Pretrain, Stage
from bdray.pipeline.store import Store

Make = Callable[..., Experiment]
GOLDEN = {
    "pretrain": "155a18999cd8920b",
    "victim": "9c89f59273f8c27c",
    "defend": "fbc92c7caa014f5a",
    "evaluate victim": "d18f01e0e578b903",
    "evaluate defend": "4dd16995c6139f65",
}
ALL = set(GOLDEN)
NONE: set[str] = set()
EVALUATIONS = {"evaluate victim", "evaluate defend"}
AFTER_PRETRAIN = ALL - {"pretrain"}
DEFENSE = {"defend", "evaluate defend"}

CHANGES: list[tuple[str, Any, set[str]]] = [
    ("seed", 1, AFTER_PRETRAIN),  # the clean base is shared by all seeds of a study
    ("data.seed", 1, ALL),
    ("data.num_train", 128, AFTER_PRETRAIN | {"pretrain"}),
    ("data.num_finetune", 96, DEFENSE),
    ("data.num_test", 48, EVALUATIONS),
    ("data.num_validation", 32, NONE),  # looked at, but nothing follows from it
    ("model.architecture", "scenes-rn", ALL),
    ("pretrain.recipe.epochs", 2, ALL),
    ("pretrain.seed", 1, ALL),
    ("attack.trigger.size", 5, AFTER_PRETRAIN),
    ("attack.trigger.seed", 1, AFTER_PRETRAIN),
    ("attack.target", "house", AFTER_PRETRAIN),
    ("attack.num_poisoned", 9, AFTER_PRETRAIN),
    ("attack.caption_templates", ["one {}"], AFTER_PRETRAIN),
    ("victim.num_samples", 48, AFTER_PRETRAIN),
    ("victim.recipe.learning_rate", 2e-3, AFTER_PRETRAIN),
    ("defense.in_modal_weight", 2, DEFENSE),
    ("defense.num_samples", 48, DEFENSE),
    ("defense.recipe.weight_decay", 0.2, DEFENSE),
    ("evaluation.metrics", [{"type": "clean_accuracy"}], EVALUATIONS),
    ("evaluation.epoch_images", 0, NONE),
]


def stages(experiment: Experiment) -> dict[str, Stage]:
    victim, defend = PoisonVictim(experiment), Defend(experiment)
    base = {"pretrain": Pretrain(experiment)} if experiment.pretrain is not None else {}
    return {
        **base,
        "victim": victim,
        "defend": defend,
        "evaluate victim": Evaluate(experiment, victim),
        "evaluate defend": Evaluate(experiment, defend),
    }


def keys(experiment: Experiment) -> dict[str, str]:
    return {name: stage.key for name, stage in stages(experiment).items()}


@dataclass
class Lab:
    """A store, and the epochs that were trained in it."""

    context: Context
    epochs: list[str] = field(default_factory=list)
    """Stage of every epoch."""


@pytest.fixture
def lab(tmp_path: Path, cache: Path) -> Lab:
    epochs: list[str] = []
    store = Store(str(tmp_path / "store"), cache)
    return Lab(Context(store, cache, report=lambda stage, metrics: epochs.append(stage)), epochs)


# What a key depends on.


@pytest.mark.parametrize(("path", "value", "concerned"), CHANGES, ids=[change[0] for change in CHANGES])
def test_a_change_concerns_exactly_the_stages_that_read_it(
    make: Make, path: str, value: object, concerned: set[str]
) -> None:
    before, after = keys(make()), keys(make({path: value}))
    # No more is computed again than must be, and no less.
    assert {name for name in before if before[name] != after[name]} == concerned


def test_every_field_of_an_experiment_is_in_the_table(make: Make) -> None:
    tested = {path.partition(".")[0] for path, _, _ in CHANGES}
    # A part that a future author adds has to say here what it concerns.
    assert tested == set(Experiment.__dataclass_fields__)


def test_equal_values_have_equal_keys_however_they_are_written(make: Make) -> None:
    # YAML's 1 and 1.0, and a default that is spelled out, are one experiment.
    assert keys(make({"defense.in_modal_weight": 1})) == keys(make({"defense.in_modal_weight": 1.0}))
    assert keys(make({"attack.trigger.seed": 0, "pretrain.seed": 0})) == keys(make())


def test_keys_are_the_same_in_every_process(make: Make) -> None:
    # If these change, everything in everyone's store is computed again: was that meant?
    assert keys(make()) == GOLDEN
    code = f"""if True:
        import sys, json
        from bdray import config
        from bdray.pipeline.experiment import Experiment
        from bdray.pipeline.stages import Defend, Evaluate
        defend = Defend(config.build(Experiment, json.loads({json.dumps(json.dumps(config.dump(make())))}), "test"))
        print(Evaluate(defend.experiment, defend).key, "torch" in sys.modules)
    """
    environment = {"PYTHONHASHSEED": "123", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    # The same in another process with other hashes of strings; and cheap: planning does not import torch.
    assert done.stdout.split() == [GOLDEN["evaluate defend"], "False"]


def test_first_weights_count_by_their_content(make: Make, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("a", "moved", "b")}
    for name, path in files.items():
        path.write_bytes(b"1" if name != "b" else b"2")
    a, moved, b = (keys(make({"pretrain": None, "model.weights": str(path)})) for path in files.values())
    # A file that was moved is the same victim's start; another content is not.
    assert a == moved
    assert not set(a.values()) & set(b.values())


def test_inputs_come_before_what_needs_them(make: Make) -> None:
    experiment = make()
    found = [stage.name for stage in Evaluate(experiment, Defend(experiment)).upstream()]
    assert found == ["pretrain", "victim", "defend"]
    # Without a base the victim is the first.
    assert [stage.name for stage in Defend(make({"pretrain": None})).upstream()] == ["victim"]


# What a result is.


def test_a_stage_computes_what_it_needs_once(make: Make, lab: Lab) -> None:
    experiment = make()
    manifest = Defend(experiment).result(lab.context)
    # Nobody planned: base and victim were made on the way.
    assert lab.epochs == ["pretrain", "victim", "defend"]
    again = Defend(experiment).result(lab.context)
    Defend(make({"defense.in_modal_weight": 4})).result(lab.context)
    # The second time nothing is computed, and a second defense shares base and victim.
    assert lab.epochs == ["pretrain", "victim", "defend", "defend"]
    assert again == manifest


def test_a_manifest_tells_what_was_done(make: Make, lab: Lab) -> None:
    experiment = make({"defense.recipe.epochs": 2})
    stage = Defend(experiment)
    manifest = stage.result(lab.context)
    metrics = Evaluate(experiment, stage).result(lab.context)["metrics"]
    # One entry per epoch with loss terms and validation accuracy; what was read; what came before; by which software.
    assert [epoch["epoch"] for epoch in manifest["history"]] == [1, 2]
    logged = {"loss", "clip_loss", "in_modal_loss", "clean_accuracy_top1", "train_seconds"}
    assert logged <= manifest["history"][0].keys()
    assert manifest["reads"] == stage.reads()
    assert manifest["inputs"] == {"victim": PoisonVictim(experiment).key}
    assert {"torch", "open_clip_torch"} <= manifest["versions"].keys()
    # The test split's numbers are fractions, under both definitions of attack success.
    assert 0 <= metrics["attack_success_rate_include_target_top1"] <= 1
    assert {"clean_accuracy_top10", "attack_success_rate_top10", "embedding_distance"} <= metrics.keys()
    # The state of the unfinished training is gone, for it is finished.
    assert not lab.context.store.workspace(stage.name, stage.key).exists()


def test_how_a_result_was_computed_is_in_its_manifest_and_not_in_its_key(make: Make, lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    weights.save(make().model.build(seed=7).state_dict(), path)
    stage = PoisonVictim(make({"pretrain": None, "model.weights": str(path)}))
    execution = Execution(precision="bf16", gradient_checkpointing=True)
    key = stage.key
    manifest = stage.result(replace(lab.context, execution=execution, checkpoint_minutes=1e-9))
    assert manifest["key"] == key
    assert {"precision": "bf16", "gradient_checkpointing": True, "compile": False}.items() <= manifest[
        "execution"
    ].items()
    # What training started from is told by its content, too, for the key of a tag does not.
    assert manifest["first_weights"] == {"path": str(path), "sha256": hash_of(path)}


def test_results_are_pure_functions_of_the_experiment(make: Make, lab: Lab, tmp_path: Path, cache: Path) -> None:
    other = Context(Store(str(tmp_path / "other"), cache), cache)
    stage = Defend(make())
    stage.result(lab.context)
    torch.manual_seed(4711)  # nobody listens to the global generator
    stage.result(other)
    first, second = (weights.load(stage.weights(context)) for context in (lab.context, other))
    # Two stores come to the same model, bit by bit.
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert len(first) == len(second) > 0


def test_no_evaluation_after_epochs_changes_no_weights(make: Make, lab: Lab) -> None:
    looked, blind = make(), make({"evaluation.epoch_images": 0})
    manifest = PoisonVictim(blind).result(lab.context)
    # Turning the look after each epoch off leaves it out of the history; the key stays, for the model does.
    assert "clean_accuracy_top1" not in manifest["history"][0]
    assert PoisonVictim(looked).result(lab.context) == manifest


def test_a_failed_stage_leaves_no_result(make: Make, lab: Lab) -> None:
    from bdray.exceptions import TrainingError

    wild = {"learning_rate": 1e9, "warmup_steps": 0, "epochs": 3}
    stage = Defend(make({f"defense.recipe.{name}": value for name, value in wild.items()}))
    with pytest.raises(TrainingError, match="the loss is not finite in epoch"):
        stage.result(lab.context)
    # What it needed is there, it itself is not.
    assert lab.context.store.find("defend", stage.key) is None
    assert lab.context.store.find("victim", stage.inputs[0].key) is not None


def test_a_stage_may_be_finished_by_another_process_meanwhile(make: Make, lab: Lab) -> None:
    stage = Pretrain(make({"pretrain.recipe.epochs": 3}))
    store, epochs = lab.context.store, lab.epochs

    def finished_elsewhere(name: str, metrics: Mapping[str, float]) -> None:
        epochs.append(name)
        shutil.rmtree(store.workspace("pretrain", stage.key))  # as whoever finishes does

    manifest = stage.result(replace(lab.context, report=finished_elsewhere))
    # The folder of its unfinished state was cleared under its hands; it goes on all the same.
    assert epochs == ["pretrain"] * 3
    assert [epoch["epoch"] for epoch in manifest["history"]] == [1, 2, 3]


def test_what_is_damaged_is_computed_anew(make: Make, lab: Lab) -> None:
    stage = Defend(make())
    store, (victim, *_) = lab.context.store, stage.inputs
    expected = stage.result(lab.context)
    before = sorted(path.name for path in Path(store.uri).glob("[pvd]?[ec]*/*/model-*"))
    for path in (*Path(store.uri).glob("victim/*/model-*"), *Path(store.uri).glob("pretrain/*/model-*")):
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    store.place.remove_folder(f"defend/{stage.key}")
    lab.epochs.clear()
    found = stage.result(lab.context)
    # The defense finds its victim damaged, whose new training finds the base damaged: both are trained once more.
    assert list(dict.fromkeys(lab.epochs)) == ["pretrain", "victim", "defend"]
    # On a CPU all of it is as before, bit for bit.
    assert found["files"] == expected["files"]
    assert sorted(path.name for path in Path(store.uri).glob("[pvd]?[ec]*/*/model-*")) == before
    # And what was damaged is named.
    assert [name.rpartition("-")[0] for name in store.damaged()] == [
        f"pretrain-{victim.inputs[0].key}",
        f"victim-{victim.key}",
    ]


@pytest.mark.parametrize(("available", "count"), [(10, 3), (10, 10), (2, 2)])
def test_subsets_are_sorted_distinct_and_seeded(available: int, count: int) -> None:
    chosen = chosen_samples(available, count, seed=0)
    # Each sample at most once, in order; the same again; another seed gives others.
    assert sorted(set(chosen.tolist())) == chosen.tolist()
    assert len(chosen) == count
    assert chosen.tolist() == chosen_samples(available, count, seed=0).tolist()
    if count < available:
        assert any(chosen.tolist() != chosen_samples(available, count, seed).tolist() for seed in range(1, 4))
