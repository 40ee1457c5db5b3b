"""The folder of results is what the report reads, at any time."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bdray import report
from bdray.pipeline.store import Store
from bdray.report.results import load as load_results
from bdray.study.plan import Job, jobs
from bdray.study.results import ResultsFolder, results_folder
from bdray.study.spec import LoadedStudy, Trial, load

LAMBDA = "defense.in_modal_weight"


class Writer:
    """Fills a folder of results."""

    def __init__(self, loaded: LoadedStudy, store: Store, compute: Callable[..., None]) -> None:
        self._store, self._compute = store, compute
        self.loaded = loaded
        self.folder = ResultsFolder(results_folder(loaded), loaded, planned_trials=4, tracking={"uri": "sqlite:///x"})

    def add(self, seed: int = 0, **point: float | str) -> Trial:
        """Note a trial and its victim."""
        dotted = {name.replace("__", "."): value for name, value in point.items()}
        trial = self.loaded.trial(dotted or {LAMBDA: 1}, seed)
        _, victim, defense = jobs(trial)
        for job in (victim, defense):
            self._compute(job)
        results = [job.find(self._store) for job in (victim, defense)]
        assert results[0] is not None
        assert results[1] is not None
        self.folder.add_victim(trial, results[0])
        self.folder.add_trial(trial, results[1])
        return trial

    def read(self, name: str) -> str:
        return (self.folder.folder / name).read_text(encoding="utf-8")


@pytest.fixture
def writer(grid: LoadedStudy, store: Store, compute: Callable[[Job], None]) -> Writer:
    return Writer(grid, store, compute)


def test_the_report_reads_what_the_study_writes(writer: Writer) -> None:
    for seed in (0, 1):
        for value in (0, 1):
            writer.add(seed, defense__in_modal_weight=value)
    writer.folder.write()
    results = load_results(writer.folder.folder)
    # Two victims and four trials with their numbers, history by epoch, nothing missing.
    assert len(results.victims) == 2
    assert len(results.trials) == 4
    assert set(results.trials["clean_accuracy_top1"]) == {0.75}
    assert sorted(results.history["epoch"].unique()) == [1, 2, 3]
    assert results.missing() == []
    assert results.study.axes[0].name(0.0) == "FT"
    # Provenance says what computed it, and settings what was computed.
    assert results.study.provenance["versions"] == {"torch": "2"}
    assert results.study.settings["data"]["num_train"] == 64


def test_a_study_that_has_just_begun_has_a_report(writer: Writer) -> None:
    writer.folder.write()
    built = report.build(writer.folder.folder)
    # With no result at all, and then with one.
    assert (built.done, built.planned) == (0, 4)
    writer.add()
    writer.folder.failures.append({"trial": "λ₂=0 seed=0", "reason": "the loss [is] NaN"})
    writer.folder.write()
    built = report.build(writer.folder.folder)
    assert (built.done, built.planned) == (1, 4)
    # The page says what failed and why.
    assert "the loss [is] NaN" in built.page.read_text(encoding="utf-8")


def test_the_order_of_events_does_not_show(
    writer: Writer, store: Store, compute: Callable[[Job], None], tmp_path: Path
) -> None:
    points = [(seed, value) for seed in (0, 1) for value in (0, 1)]
    for seed, value in points:
        writer.add(seed, defense__in_modal_weight=value)
    writer.folder.write()
    before = [writer.read(name) for name in ("results.csv", "history.csv", "study.json")]
    other = Writer(writer.loaded, store, compute)
    for seed, value in reversed(points):
        other.add(seed, defense__in_modal_weight=value)
    other.folder.write()
    # A rerun that finds everything in the store writes the same files to the last byte.
    assert [other.read(name) for name in ("results.csv", "history.csv", "study.json")] == before


def test_a_point_that_comes_twice_is_one_row(writer: Writer) -> None:
    writer.add()
    writer.add()
    writer.folder.write()
    # As a search may do that has few values to choose from; the report takes two rows for two different models.
    assert len(load_results(writer.folder.folder).trials) == 1


def test_victims_stand_at_the_axes_they_depend_on(
    workplace: Path, store: Store, compute: Callable[[Job], None]
) -> None:
    axes = "axes={attack.num_poisoned: {values: [4, 8]}, defense.in_modal_weight: {values: [0, 1]}}"
    writer = Writer(load("some/grid", [axes]), store, compute)
    for poisoned in (4, 8):
        for value in (0, 1):
            writer.add(attack__num_poisoned=poisoned, defense__in_modal_weight=value)
    writer.folder.write()
    results = load_results(writer.folder.folder)
    # One victim for each number of poisons, and none for each λ₂.
    assert results.victim_points() == [(None, 4), (None, 8)]
    assert len(results.victims) == 2
    report.build(writer.folder.folder)


def test_points_of_a_search_are_written(search: LoadedStudy, store: Store, compute: Callable[[Job], None]) -> None:
    writer = Writer(search, store, compute)
    for value in (5.0, 0.5):
        writer.add(defense__in_modal_weight=value)
    writer.folder.write()
    built = report.build(writer.folder.folder)
    # In the order of the knob, and reported.
    assert list(load_results(writer.folder.folder).trials[LAMBDA].astype(float)) == [0.5, 5.0]
    assert built.done == 2


def test_files_appear_whole(writer: Writer) -> None:
    writer.add()
    writer.folder.write()
    writer.folder.write()
    # Nothing is left of the writing, and a second time changes nothing.
    assert sorted(path.name for path in writer.folder.folder.iterdir()) == ["history.csv", "results.csv", "study.json"]
    assert [path.name for path in writer.folder.files] == ["study.json", "results.csv", "history.csv"]
    assert json.loads(writer.read("study.json"))["planned_trials"] == 4
