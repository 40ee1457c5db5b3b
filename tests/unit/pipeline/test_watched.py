"""Metrics that read more than the evaluated images: keys know of it, all are measured, and texts are encoded once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from bdray.evaluation import zero_shot
from bdray.evaluation.metrics.base import Metric
from bdray.exceptions import DataError
from bdray.models.clip import Model
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages import Context, Defend, Evaluate, PoisonVictim, Pretrain, measure
from bdray.pipeline.stages.watched import sources
from bdray.pipeline.store import Store

Make = Callable[..., Experiment]
PLAIN: list[dict[str, Any]] = [{"type": "clean_accuracy"}, {"type": "attack_success_rate"}]
DYNAMICS: list[dict[str, Any]] = [*PLAIN, {"type": "clip_score"}, {"type": "poison_detection"}]
PROBE: list[dict[str, Any]] = [*PLAIN, {"type": "linear_probe", "epochs": 2}]
EVERYTHING = [{"type": name} for name in Metric.members() if name != "linear_probe"] + [PROBE[-1]]


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
