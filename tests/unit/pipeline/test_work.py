"""What a stage has to compute: told before it runs, and recorded with what it took."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from bdray.models.clip import Model
from bdray.models.size import model_size
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages import Context, Defend, Evaluate, PoisonVictim, Pretrain
from bdray.pipeline.store import Store
from bdray.pipeline.work import Work, work_of

Make = Callable[..., Experiment]


def test_training_costs_three_passes_and_judging_one() -> None:
    size = model_size(Model(architecture="scenes-rn8").description())
    assert size is not None
    found = work_of(Model(architecture="scenes-rn8"), trained=100, watched=30, epochs=2, batch_size=32)
    assert found == Work(100, 30, 2, 4, 330.0 * size.flops, size.parameters)


def test_stages_tell_their_work(make: Make) -> None:
    experiment = make({"defense.recipe.epochs": 3, "victim.num_samples": 48})
    base, victim, defend = Pretrain(experiment).work(), PoisonVictim(experiment).work(), Defend(experiment).work()
    evaluate = Evaluate(experiment, PoisonVictim(experiment), "test").work()
    assert base is not None
    assert victim is not None
    assert defend is not None
    # 64 pairs, 48 of them, and two views of 64 in three epochs; 16 images with and without the trigger after each.
    assert [(work.trained, work.epochs) for work in (base, victim, defend)] == [(64, 1), (48, 1), (384, 3)]
    assert [work.watched for work in (base, victim, defend)] == [32, 32, 96]
    assert (evaluate.trained, evaluate.watched) == (0, 64)
    assert make({"evaluation.epoch_images": 0}).evaluation.epoch_images == 0
    quiet = PoisonVictim(make({"evaluation.epoch_images": 0})).work()
    assert quiet is not None
    assert quiet.watched == 0


@pytest.mark.slow
def test_manifests_hold_work_and_time(make: Make, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"), tmp_path / "cache")
    stage = Pretrain(make())
    manifest = stage.result(Context(store=store, cache=tmp_path / "cache"))
    work = stage.work()
    assert work is not None
    assert manifest["work"] == asdict(work)
    assert manifest["execution"]["device_name"] == "cpu"
    # One thread computes, so that its time is about that on the clock, or less where others compute, too.
    assert manifest["cpu_seconds"] > 0
    assert [found["key"] for found in store.manifests("pretrain", 10)] == [stage.key]


def test_a_store_lists_its_manifests(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"), tmp_path / "cache")
    assert list(store.manifests("victim", 10)) == []
    for key in ("c", "a", "b"):
        store.save("victim", key, {"n": key}, {})
    (tmp_path / "store" / "victim" / "aa").mkdir()  # not finished
    (tmp_path / "store" / "victim" / "b" / "manifest.json").write_text("{", encoding="utf-8")  # damaged
    # In an order of their own, so many at most, and without what cannot be read.
    assert [manifest["n"] for manifest in store.manifests("victim", 10)] == ["a", "c"]
    assert [manifest["n"] for manifest in store.manifests("victim", 1)] == ["a"]
