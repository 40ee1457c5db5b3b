"""What a search leaves in the folder of results: numbers of points, idle axes, points that were stopped early."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray import report
from bdray.pipeline.store import Store
from bdray.report.results import load as load_results
from bdray.study.plan import Job, jobs, trials
from bdray.study.results import ResultsFolder, results_folder
from bdray.study.search.base import Proposal, Pruned
from bdray.study.spec import LoadedStudy, load

LAMBDA = "defense.in_modal_weight"
HISTORY = tuple(
    {"epoch": epoch, "loss": 2.0, "total_loss": 1.0, "train_seconds": 0.5, "attack_success_rate_top1": 0.9, "x": 3.0}
    for epoch in (1.0, 2.0)
)


class Writer:
    """Fills a folder as the observer does."""

    def __init__(self, loaded: LoadedStudy, store: Store, compute: Callable[[Job], None], planned: int | None) -> None:
        self._store, self._compute = store, compute
        self.loaded = loaded
        self.folder = ResultsFolder(results_folder(loaded), loaded, store, planned_trials=planned)

    def done(self, number: int, **point: Any) -> None:
        for trial in trials(self.loaded, Proposal(number, _dotted(point))):
            chain = jobs(trial)
            for job in chain:
                self._compute(job)
            found = chain[-1].find(self._store)
            assert found is not None
            self.folder.add_trial(trial, found)

    def pruned(self, number: int, **point: Any) -> None:
        first, *_ = trials(self.loaded, Proposal(number, _dotted(point)))
        self.folder.add_pruned(first, Pruned(HISTORY))

    def rows(self, name: str = "results.csv") -> list[dict[str, str]]:
        self.folder.write()
        with (self.folder.folder / name).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    @property
    def study(self) -> dict[str, Any]:
        self.folder.write()
        found: dict[str, Any] = json.loads((self.folder.folder / "study.json").read_text(encoding="utf-8"))
        return found


def _dotted(point: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("__", "."): value for name, value in point.items()}


@pytest.fixture
def writer(search: LoadedStudy, store: Store, compute: Callable[[Job], None]) -> Writer:
    return Writer(search, store, compute, planned=4)


def test_a_pruned_point_has_epochs_and_no_result(writer: Writer) -> None:
    writer.done(0, defense__in_modal_weight=5.0)
    writer.pruned(1, defense__in_modal_weight=0.5)
    pruned, done = writer.rows()
    # In the order of the knob; numbered as the search asked; the numbers of a finished model are missing, not zero.
    assert (pruned["status"], done["status"]) == ("pruned", "done")
    assert (pruned["number"], done["number"]) == ("1", "0")
    assert (pruned["role"], pruned["seed"], pruned[LAMBDA]) == ("trial", "0", "0.5")
    assert pruned["clean_accuracy_top1"] == pruned["attack_success_rate_top1"] == ""
    assert pruned["train_seconds"] == "1.0"
    assert (pruned["defense_type"], pruned["trigger_type"]) == (done["defense_type"], done["trigger_type"])
    assert pruned["victim_key"] == done["victim_key"]
    epochs = [row for row in writer.rows("history.csv") if row["key"] == pruned["key"]]
    # Its history is there like any other's: loss and terms, CA and ASR.
    assert [(row["epoch"], row["total_loss"], row["attack_success_rate_top1"]) for row in epochs] == [
        ("1", "1.0", "0.9"),
        ("2", "1.0", "0.9"),
    ]
    assert "x" not in epochs[0]


def test_the_report_reads_it(writer: Writer) -> None:
    writer.done(0, defense__in_modal_weight=5.0)
    writer.pruned(1, defense__in_modal_weight=0.5)
    writer.folder.write()
    results = load_results(writer.folder.folder)
    assert len(results.trials) == len(results.pruned) == 1
    built = report.build(writer.folder.folder)
    assert (built.done, built.planned) == (1, 4)


def test_a_result_takes_the_place_of_what_was_pruned(writer: Writer) -> None:
    writer.pruned(1, defense__in_modal_weight=0.5)
    writer.done(1, defense__in_modal_weight=0.5)
    writer.pruned(1, defense__in_modal_weight=0.5)
    (row,) = writer.rows()
    # Where the store has a model after all, that is what counts.
    assert row["status"] == "done"
    assert len(writer.rows("history.csv")) == 3


def test_what_the_search_was_is_written_down(writer: Writer, workplace: Path) -> None:
    assert writer.study["search"] == {"type": "optuna, random", "num_points": 4, "constraints": [], "stopping": ""}
    grid = load("some/grid")
    store = Store(str(workplace / "other"), workplace)
    folder = ResultsFolder(results_folder(grid), grid, store, planned_trials=4)
    folder.write()
    assert json.loads((folder.folder / "study.json").read_text(encoding="utf-8"))["search"] is None


def test_grids_do_not_number_their_points(grid: LoadedStudy, store: Store, compute: Callable[[Job], None]) -> None:
    writer = Writer(grid, store, compute, planned=4)
    writer.done(3, defense__in_modal_weight=1)
    assert all("number" not in row for row in writer.rows())


def test_trials_of_a_budget_are_those_so_far(search: LoadedStudy, store: Store, compute: Callable[[Job], None]) -> None:
    writer = Writer(search, store, compute, planned=None)
    assert writer.study["planned_trials"] == 0
    writer.done(0, defense__in_modal_weight=5.0)
    writer.pruned(1, defense__in_modal_weight=0.5)
    writer.folder.failures.append({"trial": "λ₂=3", "reason": "NaN"})
    # Nobody knows how many there will be.
    assert writer.study["planned_trials"] == 3


CONDITIONAL = """
title: A grid with an idle axis
base: tiny
axes:
  defense:
    variants:
      CleanCLIP: {defense: {type: cleanclip}}
      supervised: {defense: {type: supervised}}
  defense.in_modal_weight: {label: λ₂, values: [1, 2], when: {defense: CleanCLIP}}
seeds: [0]
"""


def test_idle_axes_are_empty_cells(workplace: Path, store: Store, compute: Callable[[Job], None]) -> None:
    (workplace / "studies" / "some" / "conditional.yaml").write_text(CONDITIONAL, encoding="utf-8")
    writer = Writer(load("some/conditional"), store, compute, planned=3)
    writer.done(2, defense="supervised")
    writer.done(1, defense="CleanCLIP", defense__in_modal_weight=2)
    writer.done(0, defense="CleanCLIP", defense__in_modal_weight=1)
    assert [(row["defense"], row[LAMBDA]) for row in writer.rows()] == [
        ("CleanCLIP", "1"),
        ("CleanCLIP", "2"),
        ("supervised", ""),
    ]
    # The report takes that for what it is: the axis does not apply there.
    results = load_results(writer.folder.folder)
    assert len(results.trials) == 3
    report.build(writer.folder.folder)
