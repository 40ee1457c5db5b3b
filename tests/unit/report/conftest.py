"""Made-up results folders, as a study writes them, for the tests of the report."""

import copy
import csv
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray.report import Report, build

LAMBDAS = (0, 0.5, 1, 2, 4, 8)
FIELD = "defense.in_modal_weight"

STUDY: dict[str, Any] = {
    "name": "ablations/lambda2",
    "id": "ab12cd34",
    "title": "Strength of the self-supervision signal, λ₂",
    "question": "Does a stronger in-modal loss remove the backdoor without costing clean accuracy?",
    "source": "CleanCLIP section F.1, Fig. 5",
    "base": "scenes",
    "axes": [{"field": FIELD, "label": "λ₂", "values": list(LAMBDAS), "names": {"0": "FT"}}],
    "seeds": [0, 1, 2],
    "metrics": [
        {"name": "attack_success_rate_top1", "label": "ASR@1", "goal": "min"},
        {"name": "clean_accuracy_top1", "label": "CA@1", "goal": "max"},
    ],
    "compare": [0, 1],
    "published": [
        {"paper": "CleanCLIP", "table": "Fig5", "attack": "Blended", "axis": "lambda2"},
        {"paper": "CleanCLIP", "table": "Table1", "attack": "Blended", "defense": "finetune MMCL (FT)", "at": 0},
        {
            "paper": "CleanCLIP",
            "table": "Table1",
            "attack": "Blended",
            "defense": "pretrain MMCL (No defense)",
            "at": "victim",
        },
    ],
    "deviations": [
        "Data: 12,000 procedural scenes with 16 classes in place of CC3M and ImageNet-1K.",
        "Model: a ModifiedResNet of 0.4 million parameters in place of RN50.",
        "The trigger is a BadNet patch in a fixed corner; the paper's Fig. 5 uses Blended.",
        "Learning rate 1.5e-3 in place of 1e-5, tuned on the validation split.",
    ],
    "settings": {
        "data": {"type": "scenes", "seed": 0, "num_train": 12000, "num_finetune": 2000, "num_test": 1600},
        "attack": {
            "target_label": "banana",
            "num_poisoned": 100,
            "trigger": {"type": "badnet", "size": 6, "place": "corner"},
        },
        "defense": {
            "type": "cleanclip",
            "multimodal_weight": 1.0,
            "in_modal_weight": 1.0,
            "optim": {"lr": 0.0015, "weight_decay": 0.1, "betas": [0.9, 0.98]},
        },
        "seed": 0,
    },
    "provenance": {
        "bdray": "0.1.0",
        "commit": "3f9c2a1",
        "python": "3.11.7",
        "versions": {"torch": "2.9.1", "ray": "2.55.0", "open_clip": "3.2.0", "mlflow": "3.10.0"},
        "host": "2 cores, Xeon 2.5 GHz, 16 GB",
        "started": "2026-01-05T10:12:00+00:00",
        "finished": "2026-01-05T10:19:12+00:00",
        "wall_seconds": 432.0,
    },
    "planned_trials": 18,
    "failures": [],
    "mlflow": {
        "uri": "sqlite:///.bdray/mlflow.db",
        "command": "mlflow ui --backend-store-uri sqlite:///.bdray/mlflow.db",
    },
}

ASR = {0: 0.473, 0.5: 0.295, 1: 0.229, 2: 0.181, 4: 0.152, 8: 0.139}
CA = {0: 0.965, 0.5: 0.952, 1: 0.939, 2: 0.921, 4: 0.88, 8: 0.839}


def model(role: str, seed: int, level: float | str | None, asr: float, ca: float, **more: Any) -> dict[str, Any]:
    """A row of ``results.csv``."""
    row = {
        "role": role,
        "key": f"{role}-{level}-{seed}",
        "seed": seed,
        "status": "done",
        FIELD: "" if level is None else level,
        "trigger_type": "badnet",
        "defense_type": "none" if role == "victim" else "cleanclip",
    }
    for k in (1, 3, 5, 10):
        row[f"clean_accuracy_top{k}"] = ca if k == 1 else min(1.0, ca + 0.01 * k)
        row[f"attack_success_rate_top{k}"] = asr if k == 1 else min(1.0, asr + 0.02 * k)
        row[f"attack_success_rate_include_target_top{k}"] = min(1.0, asr + 0.004)
        row[f"chance_attack_success_rate_top{k}"] = 0.004 * k
    return row | {"embedding_distance": 0.2 + asr, "train_seconds": 35.0} | more


def full_models(seeds: tuple[int, ...] = (0, 1, 2)) -> list[dict[str, Any]]:
    """Three victims and eighteen trials that look like the measured ones."""
    rng = random.Random(7)
    rows = [model("victim", seed, None, 0.95 + 0.012 * (seed - 1), 0.944 + 0.006 * (seed - 1)) for seed in seeds]
    for seed in seeds:
        lift = {0: -0.08, 1: 0.01, 2: 0.09}.get(seed, 0.0)
        for level in LAMBDAS:
            asr = min(1.0, max(0.0, ASR[level] * (1 + 2 * lift) + rng.gauss(0, 0.02)))
            rows.append(model("trial", seed, level, round(asr, 5), round(CA[level] + rng.gauss(0, 0.006), 5)))
    return rows


def full_history(models: list[dict[str, Any]], epochs: int = 6, keep: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Each model that has a result approaches it exponentially."""
    rng = random.Random(11)
    rows = []
    for row in models:
        if isinstance(row["clean_accuracy_top1"], str) or isinstance(row["attack_success_rate_top1"], str):
            continue
        start_asr, start_ca = (0.02, 0.90) if row["role"] == "victim" else (0.95, 0.90)
        for epoch in range(1, epochs + 1):
            left = math.exp(-0.8 * epoch)
            asr, ca = (
                min(1.0, max(0.0, end + (start - end) * left + rng.gauss(0, 0.008)))
                for start, end in (
                    (start_asr, row["attack_success_rate_top1"]),
                    (start_ca, row["clean_accuracy_top1"]),
                )
            )
            rows.append(
                {name: row[name] for name in ("key", "role", "seed", FIELD, *keep)}
                | {"epoch": epoch, "loss": 1 + left, "clean_accuracy_top1": ca, "attack_success_rate_top1": asr}
                | {"clip_loss": 0.6 + left, "in_modal_loss": 0.4}
            )
    return rows


def write_study(
    folder: Path,
    study: dict[str, Any] | None = None,
    models: list[dict[str, Any]] | None = None,
    history: list[dict[str, Any]] | None = None,
) -> Path:
    """Write a results folder; without arguments the full one."""
    models = full_models() if models is None else models
    history = full_history(models) if history is None else history
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(STUDY | (study or {})), encoding="utf-8")
    for name, rows in (("results.csv", models), ("history.csv", history)):
        if rows:
            columns = list(dict.fromkeys(column for row in rows for column in row))
            with (folder / name).open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows)
    return folder


ATTACKS: dict[str, Any] = {
    "title": "All attacks",
    "axes": [{"field": "attack", "label": "attack", "values": ["BadNet", "SIG", "WaNet"]}],
    "seeds": [0, 1],
    "metrics": [
        {"name": "attack_success_rate_top1", "label": "ASR@1", "goal": "max"},
        {"name": "clean_accuracy_top1", "label": "CA@1", "goal": "max"},
        *({"name": f"attack_success_rate_top{k}", "label": f"ASR@{k}", "goal": "max"} for k in (3, 5, 10)),
        {"name": "embedding_distance", "label": "distance", "goal": "max"},
        {"name": "trigger_psnr", "label": "PSNR", "goal": "max"},
        {"name": "trigger_ssim", "label": "SSIM", "goal": "max"},
        {"name": "trigger_linf", "label": "L∞", "goal": "min"},
    ],
    "compare": [],
    "published": [],
    "planned_trials": 6,
    "examples": [{"label": "BadNet", "file": "examples/badnet-0.png"}, {"label": "SIG", "file": "examples/sig-0.png"}],
}


def attacked(attack: str, seed: int, asr: float, ca: float = 0.9) -> dict[str, Any]:
    """A row of a study that defends nothing."""
    row = model("trial", seed, None, asr, ca, trigger_psnr=21.234, trigger_ssim=0.91249, trigger_linf=0.5)
    del row[FIELD]
    return row | {"key": f"{attack}-{seed}", "attack": attack, "defense_type": "none"}


@pytest.fixture
def overview(tmp_path: Path) -> Callable[..., Path]:
    """Writes a study of attacks without a defense, with a picture of one of them; takes ASR by attack and seed."""

    def write(asr: dict[str, list[float]] | None = None, **study: Any) -> Path:
        from PIL import Image

        rates = {"BadNet": [0.98, 1.0], "SIG": [0.5, 0.6], "WaNet": [0.7, 0.9]} if asr is None else asr
        rows = [attacked(name, seed, rate) for name, seeds in rates.items() for seed, rate in enumerate(seeds)]
        columns = ("key", "role", "seed", "attack", "clean_accuracy_top1", "attack_success_rate_top1")
        history = [{name: row[name] for name in columns} | {"epoch": epoch} for row in rows for epoch in (1, 2)]
        folder = write_study(tmp_path / "overview", ATTACKS | study, rows, history)
        (folder / "examples").mkdir()
        Image.new("RGB", (24, 12), "gray").save(folder / "examples" / "badnet-0.png")
        return folder

    return write


@pytest.fixture
def study() -> dict[str, Any]:
    """``study.json`` of the full study."""
    return copy.deepcopy(STUDY)


@pytest.fixture
def models() -> list[dict[str, Any]]:
    """``results.csv`` of the full study."""
    return full_models()


@pytest.fixture
def model_row() -> Callable[..., dict[str, Any]]:
    """Makes one row of ``results.csv``."""
    return model


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a results folder from changes to ``study.json``, models and history; the full one without arguments."""
    return lambda study=None, models=None, history=None: write_study(tmp_path / "study", study, models, history)


@pytest.fixture(scope="session")
def full_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of the full study, built once; for reading only."""
    return build(write_study(tmp_path_factory.mktemp("report") / "full"))


@pytest.fixture
def write_to() -> Callable[..., Path]:
    """Writes a results folder to a place of one's choice."""
    return write_study
