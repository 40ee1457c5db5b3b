"""Metrics that read more than the evaluated images: keys know of it, all are measured, and texts are encoded once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from bdray.data.tasks.torchvision_sets import known
from bdray.evaluation import zero_shot
from bdray.evaluation.metrics.base import Metric
from bdray.exceptions import ConfigError, DataError
from bdray.models.clip import Model
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages import Context, Defend, Evaluate, PoisonVictim, Pretrain, evaluate_base, measure
from bdray.pipeline.stages.watched import reads_of_metrics, sources
from bdray.pipeline.store import Store

Make = Callable[..., Experiment]
PLAIN: list[dict[str, Any]] = [{"type": "clean_accuracy"}, {"type": "attack_success_rate"}]
DYNAMICS: list[dict[str, Any]] = [*PLAIN, {"type": "clip_score"}, {"type": "poison_detection"}]
PROBE: list[dict[str, Any]] = [*PLAIN, {"type": "linear_probe", "epochs": 2}]
FILED = ("linear_probe", "transfer_probe")  # which is asked of its own task elsewhere
EVERYTHING = [{"type": name} for name in Metric.members() if name not in FILED] + [PROBE[-1]]


def keys(make: Make, metrics: list[dict[str, Any]], **changes: Any) -> dict[str, str]:
    experiment = make({"evaluation.metrics": metrics, **{path.replace("__", "."): v for path, v in changes.items()}})
    victim, defend = PoisonVictim(experiment), Defend(experiment)
    stages = {"pretrain": Pretrain(experiment), "victim": victim, "defend": defend}
    return {name: stage.key for name, stage in stages.items()} | {"evaluate": Evaluate(experiment, victim).key}


def test_dynamics_are_part_of_the_victim(make: Make) -> None:
    plain, dynamics = keys(make, PLAIN), keys(make, DYNAMICS)
    # A victim that was trained without them has no such history, so another one is trained; the base is shared.
    assert plain["pretrain"] == dynamics["pretrain"]
    assert plain["victim"] != dynamics["victim"]
    assert plain["defend"] != dynamics["defend"]
    # Where no epoch is judged there is nothing to record.
    assert keys(make, DYNAMICS, evaluation__epoch_images=0)["victim"] == plain["victim"]


def test_what_a_probe_is_trained_on_is_part_of_its_evaluation(make: Make) -> None:
    plain, probe = keys(make, PLAIN), keys(make, PROBE)
    more, wider = keys(make, PROBE, data__num_finetune=96), keys(make, PLAIN, data__num_finetune=96)
    # The probe needs no other victim, and only its own evaluation depends on the finetune split.
    assert probe["victim"] == plain["victim"]
    assert probe["evaluate"] != more["evaluate"]
    assert plain["evaluate"] == wider["evaluate"]


def sst(root: Path, **fields: Any) -> list[dict[str, Any]]:
    """Plain metrics, and a probe on a set in files."""
    numbers = {"num_train": 8, "num_validation": 4, "num_test": 6} | fields
    task = {"type": "torchvision", "name": "rendered_sst2", "path": str(root), **numbers}
    return [*PLAIN, {"type": "transfer_probe", "task": task}]


def test_what_another_task_is_made_of_is_part_of_its_evaluation(make: Make, tmp_path: Path) -> None:
    plain, probe, more = (keys(make, metrics) for metrics in (PLAIN, sst(tmp_path), sst(tmp_path, num_train=7)))
    # Models are the same with and without it; only what they are asked differs.
    assert {**probe, "evaluate": plain["evaluate"]} == plain
    assert len({keys["evaluate"] for keys in (plain, probe, more)}) == 3
    # The set's files are part of the key, and so is what of them models are judged by.
    experiment = make({"evaluation.metrics": sst(tmp_path)})
    victim = PoisonVictim(experiment)
    assert reads_of_metrics(experiment, "test") != reads_of_metrics(experiment, "validation")
    for name in known()["rendered_sst2"]["files"]:
        (tmp_path / name).mkdir(parents=True)
    assert Evaluate(experiment, victim).key != probe["evaluate"]
    # What it costs is known: 32 images with and without the trigger, 8 to learn from and 6 to be judged by.
    assert Evaluate(experiment, victim).work().watched == 2 * 32 + 8 + 6
    # The clean base is not asked, as it is not by other metrics that read more than the split.
    base, other = (evaluate_base(one, "test") for one in (experiment, make({"evaluation.metrics": PLAIN})))
    assert base is not None
    assert other is not None
    assert base.key == other.key


def test_a_task_that_is_not_here_is_refused_before_anything_runs(make: Make, tmp_path: Path) -> None:
    experiment = make({"evaluation.metrics": sst(tmp_path / "nowhere")})
    # It can be planned,
    experiment.check(tmp_path)
    # but not run.
    with pytest.raises(DataError, match=r"evaluation\.metrics\.2\.task\.path: rendered_sst2 is not there .*/nowhere/"):
        experiment.check_readable()


def test_two_probes_of_one_set_are_refused(make: Make, tmp_path: Path) -> None:
    # Otherwise one number would silently stand for the other.
    with pytest.raises(ConfigError, match=r"evaluation\.metrics: .* 2 of them measure probe_rendered_sst2_accuracy"):
        make({"evaluation.metrics": sst(tmp_path) + sst(tmp_path, num_train=7)[2:]})


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_probe_of_another_task_goes_through_the_pipeline(
    split: Literal["test", "validation"], make: Make, cache: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for folder, count in (("train", 6), ("test", 3)):
        for name in ("negative", "positive"):
            (tmp_path / "rendered-sst2" / folder / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(256, size=(40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "rendered-sst2" / folder / name / f"{number}.png")
    experiment = make({"pretrain": None, "evaluation.metrics": sst(tmp_path)})
    experiment.check_readable()
    context = Context(Store(str(tmp_path / "store"), tmp_path / "cache"), tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    for scenes in cache.iterdir():
        (tmp_path / "cache" / scenes.name).symlink_to(scenes)
    found = Evaluate(experiment, PoisonVictim(experiment), split).result(context)["metrics"]
    # A share of the part that the study judges on: six test images, or the four that validation has.
    share = found["probe_rendered_sst2_accuracy"] * {"test": 6, "validation": 4}[split]
    assert share == pytest.approx(round(share))
    prepared = {path.name.split("-")[1] for path in (tmp_path / "cache").glob("torchvision-*") if path.is_dir()}
    assert prepared == {"train", split}


@pytest.mark.slow
def test_all_metrics_go_through_the_pipeline(make: Make, tmp_path: Path) -> None:
    experiment = make({"evaluation.metrics": EVERYTHING})
    experiment.check(tmp_path)
    context = Context(Store(str(tmp_path / "store"), tmp_path), tmp_path)
    evaluation = Evaluate(experiment, PoisonVictim(experiment))
    manifest = evaluation.result(context)
    names = {name for metric in experiment.evaluation.metrics for name in metric.names}
    # Every number that was announced is there, in a manifest that JSON can hold.
    assert set(manifest["metrics"]) == names
    # All files came along, and count every image once: 32 test images, and triggered ones of other classes.
    assert {"examples.png", "confusion.csv", "embedding.csv"} <= set(manifest["files"])
    table = pd.read_csv(context.store.fetch(evaluation.name, evaluation.key, "confusion.csv"))
    assert table["clean"].sum() == table["triggered"].sum() == 32
    points = pd.read_csv(context.store.fetch(evaluation.name, evaluation.key, "embedding.csv"))
    counts = points["kind"].value_counts()
    assert counts["clean"] + counts["target"] == 32
    assert counts["triggered"] == counts["clean"]
    # After every epoch only the dynamics; the base, which nobody attacked, has none.
    history = PoisonVictim(experiment).result(context)["history"]
    assert {"clip_score_poisoned", "poison_detection_auroc", "clean_accuracy_top1"} <= set(history[0])
    assert not {"linear_probe_clean_accuracy", "embedding_silhouette"} & set(history[0])
    assert "clip_score_poisoned" not in Pretrain(experiment).result(context)["history"][0]


def test_class_names_are_encoded_once_for_all_metrics(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make({"evaluation.metrics": EVERYTHING})
    context = Context(Store(str(tmp_path / "store"), tmp_path), tmp_path)
    model = experiment.model.build(seed=0).eval()
    prompts = experiment.model.tokenizer()([f"a photo of a {name}" for name in experiment.data.class_names()])
    encode, weights = model.encode_text, zero_shot.class_weights
    seen: list[torch.Tensor] = []
    calls: list[list[str]] = []

    def counted(text: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        seen.append(text)
        found: torch.Tensor = encode(text, normalize=normalize)
        return found

    def watched(model: Any, tokenizer: Any, names: list[str], templates: list[str], **options: Any) -> torch.Tensor:
        calls.append(names)
        return weights(model, tokenizer, names, templates, **options)

    monkeypatch.setattr(model, "encode_text", counted)
    monkeypatch.setattr(zero_shot, "class_weights", watched)
    pairs = experiment.data.load("test", tmp_path)
    found = sources(experiment, context, attacked=True)
    measure(experiment, model, pairs, experiment.attack.trigger, in_the_end=True, sources=found)
    # The names and templates are the data set's; of all passes of the text tower just one is theirs.
    assert calls == [experiment.data.class_names()]
    assert sum(len(text) == len(prompts) and torch.equal(text, prompts) for text in seen) == 1


def test_a_probe_without_labels_is_refused_before_anything_runs(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make({"evaluation.metrics": PROBE})
    assert isinstance(experiment.model, Model)
    pairs = experiment.data.load("finetune", tmp_path)
    pairs.labels[:] = -1
    monkeypatch.setattr(type(experiment.data), "load", lambda *_: pairs)
    with pytest.raises(DataError, match="labeled images of at least two classes"):
        experiment.check(tmp_path)
