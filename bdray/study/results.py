"""The study's folder of results: what reports are made from, with no cluster and no tracker."""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bdray import config
from bdray.exceptions import DataError
from bdray.pipeline.stages import Stage, victim_of
from bdray.pipeline.store import Store
from bdray.report import study as study_file
from bdray.report.results import NO_DEFENSE, NUMBER
from bdray.study.computed import Provenance
from bdray.study.embeddings import FOLDER as EMBEDDINGS_FOLDER
from bdray.study.embeddings import Embeddings
from bdray.study.examples import FOLDER as EXAMPLES_FOLDER
from bdray.study.examples import Examples
from bdray.study.plan import Result, jobs
from bdray.study.search.base import Pruned
from bdray.study.similarities import FOLDER as SIMILARITIES_FOLDER
from bdray.study.similarities import Similarities
from bdray.study.space import AFTER_VICTIM, place
from bdray.study.spec import LoadedStudy, Trial

Row = dict[str, Any]
HISTORY = ("loss", "clean_accuracy_top1", "attack_success_rate_top1", "train_seconds")
DYNAMICS = ("clip_score_", "poison_detection_")
"""Start the names of what is measured for the sake of its course."""


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
    """Where the results came from; it has pictures of triggers, similarities of pairs and maps of features."""
    planned_trials: int | None
    """None where budgets decide how many there will be."""
    tracking: study_file.Tracking = field(default_factory=study_file.Tracking)
    """How to open the tracker, for the report."""
    failures: list[dict[str, str]] = field(default_factory=list)
    _rows: dict[tuple[Any, ...], Row] = field(default_factory=dict)
    """By key and point: a search may propose a point again, and several points may share a victim."""
    _history: dict[tuple[Any, ...], list[Row]] = field(default_factory=dict)
    _provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        self._examples = Examples(self.folder, self.loaded, self.store)
        self._similarities = Similarities(self.folder, self.loaded, self.store)
        self._embeddings = Embeddings(self.folder, self.loaded, self.store)

    def add_victim(self, trial: Trial, result: Result) -> None:
        """Note a victim's own numbers, once: the row without a defense, at the axes that the victim depends on."""
        own = {path for path in trial.point if not self.loaded.turns(path) <= AFTER_VICTIM}
        point = {path: value if path in own else "" for path, value in self._row_of(trial).items()}
        self._add(result, point, NO_DEFENSE, "victim")
        self._examples.add(trial, result)
        self._embeddings.add(trial, result, is_victim=True)

    def add_traceback(self, label: str, traceback: str) -> None:
        """Append to ``errors.log``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "errors.log").open("a", encoding="utf-8") as file:
            file.write(f"== {label}, {datetime.now(UTC).isoformat(timespec='seconds')}\n{traceback}\n")

    def add_trial(self, trial: Trial, result: Result) -> None:
        """Note a finished trial."""
        self._add(result, self._row_of(trial), _defense(trial), "trial", trial.number)
        self._examples.add(trial, result)
        self._similarities.add(trial, result)
        self._embeddings.add(trial, result)

    def add_pruned(self, trial: Trial, pruned: Pruned) -> None:
        """Note a trial that was stopped early: it has epochs, and no numbers of a finished model."""
        point, stage = self._row_of(trial), jobs(trial)[-1].stage
        identity = ("trial", stage.key, *point.values())
        if identity in self._rows:
            return
        common = self._common(stage, "trial", point, trial.number)
        self._rows[identity] = {
            **common,
            "victim_key": victim_of(stage.experiment).key,
            "status": "pruned",
            "trigger_type": stage.experiment.attack.trigger.type,
            "defense_type": _defense(trial),
            **dict.fromkeys(self.loaded.objectives, ""),
            "train_seconds": _train_seconds(pruned.history),
        }
        self._history[identity] = _epochs(common, pruned.history)

    @property
    def files(self) -> tuple[Path, ...]:
        """What reports are made from: three files and, if there are any, folders of pictures, similarities and maps."""
        files = [self.folder / name for name in ("study.json", "results.csv", "history.csv")]
        folders = [self.folder / name for name in (EXAMPLES_FOLDER, SIMILARITIES_FOLDER, EMBEDDINGS_FOLDER)]
        return (*files, *(path for path in folders if path.is_dir()))

    def write(self) -> None:
        """Bring the files up to date, each of them whole or not at all.

        Raises:
            DataError: If they cannot be written, as on a full disk.
        """
        try:
            self._write()
        except OSError as error:
            raise DataError(
                f"{self.folder}: the study's results cannot be written ({error.strerror or error}). Make room, or mend "
                "what is wrong there, and run the same command again: finished stages are in the store."
            ) from error

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        ordered = self._ordered()
        _write_csv(self.folder / "results.csv", [self._rows[identity] for identity in ordered])
        _write_csv(self.folder / "history.csv", [row for identity in ordered for row in self._history[identity]])
        text = json.dumps(self._study(), indent=1, ensure_ascii=False)
        _replace(self.folder / "study.json", text)

    def keys(self, role: str) -> list[str]:
        """Keys of the models that were noted as a ``victim`` or ``trial``, in the order of the files."""
        rows = [self._rows[identity] for identity in self._ordered()]
        return list(dict.fromkeys(row["key"] for row in rows if row["role"] == role))

    def _ordered(self) -> list[tuple[Any, ...]]:
        # A victim that is itself a point of the study needs no second row.
        trials = {row["key"] for row in self._rows.values() if row["role"] == "trial"}
        shown = [i for i, row in self._rows.items() if row["role"] == "trial" or row["key"] not in trials]
        return sorted(shown, key=lambda identity: self._place(self._rows[identity]))

    def _place(self, row: Row) -> tuple[Any, ...]:
        """Victims first, then by point and seed: the order in which trials happened to end must not show."""
        return row["role"] != "victim", place(self.loaded.study.axes, row), row["seed"]

    def _row_of(self, trial: Trial) -> Row:
        """A trial's point with all axes; nothing where one is not turned."""
        return {path: trial.point.get(path, "") for path in self.loaded.study.axes}

    def _common(self, stage: Stage, role: str, point: Row, number: int | None) -> Row:
        """What results and history say of a model. Only a search numbers its points."""
        own = {} if number is None or self.loaded.study.search.described is None else {NUMBER: number}
        return {"role": role, "key": stage.key, "seed": stage.experiment.seed, **point, **own}

    def _add(self, result: Result, point: Row, defense: str, role: str, number: int | None = None) -> None:
        identity = (role, result.job.key, *point.values())
        if self._rows.get(identity, {}).get("status") == "done":
            return
        self._provenance.add(result.model)
        stage = result.job.stage
        common = self._common(stage, role, point, number)
        trigger = stage.experiment.attack.trigger.type
        measured = {name: result.base[name] for name in self.loaded.objectives if name in result.base}
        self._rows[identity] = {
            **common,
            # Of the victim that a defense which trains in its place stands for, too: by it, trials of studies pair up.
            "victim_key": victim_of(stage.experiment).key,
            "status": "done",
            "trigger_type": trigger,
            "defense_type": defense,
            **result.metrics,
            # The report asks for a column of every metric of the study, also before the first model that has it.
            **{name: result.metrics.get(name, "") for name in self.loaded.objectives},
            # What the trigger does to the clean model that the attack starts from.
            **{f"base_{name}": value for name, value in measured.items() if not name.startswith("trigger_")},
            **result.counts,
            "train_seconds": _train_seconds(result.model["history"]),
        }
        self._history[identity] = _epochs(common, result.model["history"])

    @property
    def _planned(self) -> int:
        """Trials that there will be, or that there are so far."""
        so_far = len([row for row in self._rows.values() if row["role"] == "trial"]) + len(self.failures)
        return so_far if self.planned_trials is None else self.planned_trials

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
            search=study.search.described,
            seeds=list(study.seeds),
            split=self.loaded.split,
            metrics=list(study.metrics),
            compare=list(study.compare),
            published=list(study.published),
            reference=study.reference,
            interval=study.interval,
            goals=dict(study.goals),
            scaling=study.scaling,
            deviations=list(study.deviations),
            notes=list(study.notes),
            examples=self._examples.listing(),
            similarities=self._similarities.listing(),
            embeddings=self._embeddings.listing(),
            settings=self.loaded.base,
            provenance=self._provenance.described,
            planned_trials=self._planned,
            failures=[study_file.Failure(**failure) for failure in self.failures],
            mlflow=self.tracking,
        )
        tree: Row = config.dump(written)
        return tree


def _defense(trial: Trial) -> str:
    defense = trial.experiment.defense
    return defense.type if defense else NO_DEFENSE


def _train_seconds(history: Sequence[Mapping[str, float]]) -> float:
    return sum(epoch.get("train_seconds", 0.0) for epoch in history)


def _epochs(common: Row, history: Sequence[Mapping[str, float]]) -> list[Row]:
    """The rows of one model in ``history.csv``."""
    rows = []
    for epoch in history:
        kept = {name: epoch[name] for name in HISTORY if name in epoch}
        terms = {name: value for name, value in epoch.items() if name.endswith("_loss") or name.startswith(DYNAMICS)}
        rows.append({**common, "epoch": int(epoch["epoch"]), **kept, **terms})
    return rows


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
