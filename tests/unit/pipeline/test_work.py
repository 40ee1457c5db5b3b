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


def test_what_metrics_pass_forward_is_work(make: Make) -> None:
    plain = [{"type": "clean_accuracy"}, {"type": "attack_success_rate"}]

    def watched(*metrics: dict[str, object], epoch_images: int = 16) -> list[int]:
        changes = {"evaluation.metrics": [*plain, *metrics], "evaluation.epoch_images": epoch_images}
        experiment = make({**changes, "defense.recipe.epochs": 3, "victim.num_samples": 48})
        victim = PoisonVictim(experiment)
        stages = Pretrain(experiment), victim, Defend(experiment), Evaluate(experiment, victim, "test")
        return [work.watched for stage in stages if (work := stage.work()) is not None]

    base, victim, defend, evaluate = watched()
    # 48 pairs after each epoch and in the end, but the clean base has no poisoned set to look at.
    assert watched({"type": "poison_detection"}) == [base, victim + 48, defend + 3 * 48, evaluate + 48]
    # 8 poisoned pairs and 10 clean ones; with detection, which computes all similarities, they cost nothing.
    score = {"type": "clip_score", "num_clean": 10}
    assert watched(score) == [base, victim + 18, defend + 3 * 18, evaluate + 18]
    assert watched(score, {"type": "poison_detection"}) == watched({"type": "poison_detection"})
    # There are only 40 clean ones.
    assert watched({"type": "clip_score"})[1] == victim + 48
    # Without judging epochs only the end costs.
    assert watched({"type": "poison_detection"}, epoch_images=0) == [0, 0, 0, evaluate + 48]
    # Other splits are read in the end: all 64 labeled images, or a gallery of as many pairs as are asked for.
    assert watched({"type": "linear_probe"}) == [base, victim, defend, evaluate + 64]
    assert watched({"type": "linear_probe", "num_samples": 20})[3] == evaluate + 20
    gallery = {"type": "image_text_retrieval", "split": "finetune", "num_pairs": 30}
    assert watched(gallery) == [base, victim, defend, evaluate + 30]


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
