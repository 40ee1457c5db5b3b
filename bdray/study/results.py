"""The study's folder of results: what reports are made from, with no cluster and no tracker."""

import csv
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bdray import config
from bdray.pipeline.store import Manifest, Store
from bdray.report import study as study_file
from bdray.report.results import NO_DEFENSE
from bdray.report.study import DETECTION
from bdray.study.examples import FOLDER as EXAMPLES_FOLDER
from bdray.study.examples import Examples
from bdray.study.plan import Result
from bdray.study.similarities import FOLDER as SIMILARITIES_FOLDER
from bdray.study.similarities import Similarities
from bdray.study.space import AFTER_VICTIM
from bdray.study.spec import LoadedStudy, Trial

Row = dict[str, Any]
HISTORY = ("loss", "clean_accuracy_top1", "attack_success_rate_top1", "train_seconds")


def results_folder(loaded: LoadedStudy) -> Path:
    """Where a study writes; a study that was changed on the command line has a folder of its own."""
    name = loaded.name if not loaded.is_changed else f"{loaded.name}-{loaded.id[:8]}"
    return loaded.runtime.output.absolute() / "studies" / name


@dataclass
class ResultsFolder:
    """Collects rows in memory and rewrites the small files of the folder, each atomically."""

    folder: Path
    loaded: LoadedStudy
    store: Store
    """Where the results came from; it has the pictures of the triggers and the similarities of pairs."""
    planned_trials: int
    tracking: Mapping[str, str] = field(default_factory=dict)
    """How to open the tracker, for the report."""
    failures: list[dict[str, str]] = field(default_factory=list)
    _rows: dict[tuple[Any, ...], Row] = field(default_factory=dict)
    """By key and point: a search may propose a point again, and several points may share a victim."""
    _history: dict[tuple[Any, ...], list[Row]] = field(default_factory=dict)
    _manifests: dict[str, Manifest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._examples = Examples(self.folder, self.loaded, self.store)
        self._similarities = Similarities(self.folder, self.loaded, self.store)

    def add_victim(self, trial: Trial, result: Result) -> None:
        """Note a victim's own numbers, once: the row without a defense, at the axes that the victim depends on."""
        loaded = self.loaded
        point = {path: "" if loaded.turns(path) <= AFTER_VICTIM else value for path, value in trial.point.items()}
        self._add(result, point, NO_DEFENSE, "victim")
        self._examples.add(trial, result)

    def add_traceback(self, label: str, traceback: str) -> None:
        """Append to ``errors.log``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "errors.log").open("a", encoding="utf-8") as file:
            file.write(f"== {label}, {datetime.now(UTC).isoformat(timespec='seconds')}\n{traceback}\n")

    def add_trial(self, trial: Trial, result: Result) -> None:
        """Note a finished trial."""
        defense = trial.experiment.defense
        self._add(result, dict(trial.point), defense.type if defense else NO_DEFENSE, "trial")
        self._examples.add(trial, result)
        self._similarities.add(trial, result)

    @property
    def files(self) -> tuple[Path, ...]:
        """What reports are made from: three files and, if there are any, the folders of pictures and similarities."""
        files = [self.folder / name for name in ("study.json", "results.csv", "history.csv")]
        folders = [self.folder / name for name in (EXAMPLES_FOLDER, SIMILARITIES_FOLDER)]
        return (*files, *(path for path in folders if path.is_dir()))

    def write(self) -> None:
        """Bring the files up to date."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # A victim that is itself a point of the study needs no second row.
        trials = {row["key"] for row in self._rows.values() if row["role"] == "trial"}
        shown = [i for i, row in self._rows.items() if row["role"] == "trial" or row["key"] not in trials]
        ordered = sorted(shown, key=lambda identity: self._place(self._rows[identity]))
        _write_csv(self.folder / "results.csv", [self._rows[identity] for identity in ordered])
        _write_csv(self.folder / "history.csv", [row for identity in ordered for row in self._history[identity]])
        text = json.dumps(self._study(), indent=1, ensure_ascii=False)
        _replace(self.folder / "study.json", text)

    def _place(self, row: Row) -> tuple[Any, ...]:
        """Victims first, then by point and seed: the order in which trials happened to end must not show."""
        axes = self.loaded.study.axes.items()
        point = [axis.place(row[path]) if row[path] != "" else -math.inf for path, axis in axes]
        return row["role"] != "victim", point, row["seed"]

    def _add(self, result: Result, point: Row, defense: str, role: str) -> None:
        identity = (role, result.job.key, *point.values())
        if identity in self._rows:
            return
        self._manifests[result.job.key] = result.model
        stage = result.job.stage
        common: Row = {"role": role, "key": result.job.key, "seed": stage.experiment.seed, **point}
        trigger = stage.experiment.attack.trigger.type
        seconds = sum(epoch.get("train_seconds", 0.0) for epoch in result.model["history"])
        self._rows[identity] = {
            **common,
            "status": "done",
            "trigger_type": trigger,
            "defense_type": defense,
            **result.metrics,
            # The report asks for a column of every metric of the study, also before the first model that has it.
            **{name: result.metrics.get(name, "") for name in self.loaded.objectives if name.startswith(DETECTION)},
            "train_seconds": seconds,
        }
        history = self._history[identity] = []
        for epoch in result.model["history"]:
            kept = {name: epoch[name] for name in HISTORY if name in epoch}
            terms = {name: value for name, value in epoch.items() if name.endswith("_loss")}
            history.append({**common, "epoch": int(epoch["epoch"]), **kept, **terms})

    def _study(self) -> Row:
        study = self.loaded.study
        written = study_file.Study(
            name=self.loaded.name,
            id=self.loaded.id,
            title=study.title,
            question=study.question,
            source=study.source,
            base=study.base,
            axes=self.loaded.described_axes,
            seeds=list(study.seeds),
            split=self.loaded.split,
            metrics=list(study.metrics),
            compare=list(study.compare),
            published=list(study.published),
            goals=dict(study.goals),
            deviations=list(study.deviations),
            notes=list(study.notes),
            examples=self._examples.listing(),
            similarities=self._similarities.listing(),
            settings=self.loaded.base,
            provenance=_provenance(list(self._manifests.values())),
            planned_trials=self.planned_trials,
            failures=[study_file.Failure(**failure) for failure in self.failures],
            mlflow=dict(self.tracking),
        )
        tree: Row = config.dump(written)
        return tree


def _provenance(manifests: list[Manifest]) -> Row:
    """What computed the results, from the results themselves, so that a rerun that computes nothing changes nothing."""
    if not manifests:
        return {}
    found: Row = {}
    for name in ("commit", "python", "versions"):
        values = [manifest[name] for manifest in manifests]
        distinct = [value for index, value in enumerate(values) if value not in values[:index]]
        found[name] = distinct[0] if len(distinct) == 1 else distinct
    started = min(manifest["started"] for manifest in manifests)
    ended = max(manifest["started"] + manifest["seconds"] for manifest in manifests)
    return {
        **found,
        "workers": sorted({manifest["worker"].partition(":")[0] for manifest in manifests}),
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "finished": datetime.fromtimestamp(ended, UTC).isoformat(timespec="seconds"),
        "training_seconds": round(sum(manifest["seconds"] for manifest in manifests), 1),
    }


def _write_csv(path: Path, rows: list[Row]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)


def _replace(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text + "\n", encoding="utf-8")
    os.replace(partial, path)
