"""The folder of results is what the report reads, at any time."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bdray import report
from bdray.pipeline.store import Store
from bdray.report.results import load as load_results
from bdray.report.study import Tracking
from bdray.study.plan import Job, jobs
from bdray.study.results import ResultsFolder, results_folder
from bdray.study.spec import LoadedStudy, Trial, load

LAMBDA = "defense.in_modal_weight"


class Writer:
    """Fills a folder of results."""

    def __init__(self, loaded: LoadedStudy, store: Store, compute: Callable[..., None]) -> None:
        self._store, self._compute = store, compute
        self.loaded = loaded
        self.folder = ResultsFolder(results_folder(loaded), loaded, store, planned_trials=4)
        self.folder.tracking = Tracking(uri="sqlite:///x")

    def add(self, seed: int = 0, **point: float | str) -> Trial:
        """Note a trial and its victim."""
        dotted = {name.replace("__", "."): value for name, value in point.items()}
        trial = self.loaded.trial(dotted or {LAMBDA: 1}, seed)
        _, *rest = jobs(trial)
        for job in rest:
            self._compute(job)
        results = [result for job in rest if (result := job.find(self._store))]
        assert len(results) == len(rest)
        if len(results) == 2:
            self.folder.add_victim(trial, results[0])
        self.folder.add_trial(trial, results[-1])
        return trial

    def read(self, name: str) -> str:
        return (self.folder.folder / name).read_text(encoding="utf-8")

    @property
    def examples(self) -> dict[str, str]:
        """What each picture shows, by its label; nothing where there is no file."""
        self.folder.write()
        paths = {
            item["label"]: self.folder.folder / item["file"] for item in json.loads(self.read("study.json"))["examples"]
        }
        return {label: path.read_text(encoding="utf-8") if path.exists() else "" for label, path in paths.items()}


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
    names = ["study.json", "results.csv", "history.csv", "examples"]
    # Nothing is left of the writing, and a second time changes nothing.
    assert sorted(path.name for path in writer.folder.folder.iterdir()) == sorted(names)
    assert len(list((writer.folder.folder / "examples").iterdir())) == 1
    assert [path.name for path in writer.folder.files] == names
    assert json.loads(writer.read("study.json"))["planned_trials"] == 4


ATTACKS = """
title: Attacks
base: tiny
experiment: {defense: null}
axes:
  attack:
    variants:
      Patch: {attack: {trigger: {type: badnet, size: 6}}}
      Pattern: {attack: {trigger: {type: blended, alpha: 0.3}}}
      Rare patch: {attack: {num_poisoned: 4}}
goals: {attack_success_rate_top1: 0.2}
notes: [Tried.]
"""


@pytest.fixture
def attacks(workplace: Path, store: Store, compute: Callable[[Job], None]) -> Writer:
    """Of a study without a defense."""
    (workplace / "studies" / "some" / "attacks.yaml").write_text(ATTACKS, encoding="utf-8")
    return Writer(load("some/attacks"), store, compute)


def test_a_study_of_attacks_has_no_victims_beside_its_trials(attacks: Writer) -> None:
    for name in ("Pattern", "Patch", "Rare patch"):
        attacks.add(attack=name)
    attacks.folder.write()
    results = load_results(attacks.folder.folder)
    # Each trial is a victim, in the plan's order; an axis may be called what a column might have been.
    assert list(results.trials["attack"]) == ["Patch", "Pattern", "Rare patch"]
    assert list(results.trials["trigger_type"]) == ["badnet", "blended", "badnet"]
    assert results.victims.empty
    assert not results.has_defense
    # What the file of the study says reaches the report.
    assert results.study.goals == {"attack_success_rate_top1": 0.2}
    assert results.study.notes == ["Tried."]
    assert results.study.axes[0].variants["Rare patch"] == {"attack": {"num_poisoned": 4}}


def test_every_trigger_has_one_picture(attacks: Writer) -> None:
    for seed in (0, 1):
        for name in ("Rare patch", "Pattern", "Patch"):
            attacks.add(seed, attack=name)
    # In the order of the axis, under the names that choose it; seeds and rare poisons change nothing of it.
    assert list(attacks.examples.items()) == [("Patch, Rare patch", "badnet"), ("Pattern", "blended")]


def test_a_study_of_one_trigger_has_its_picture(writer: Writer) -> None:
    writer.add(defense__in_modal_weight=1)
    # No axis chooses it, so it is named by its type, also before the other values are there.
    assert writer.examples == {"badnet": "badnet"}


def test_numbers_that_choose_a_trigger_are_named(workplace: Path, store: Store, compute: Callable[[Job], None]) -> None:
    axes = "axes={attack.trigger.size: {label: side, values: [4, 6]}, defense.in_modal_weight: {values: [0, 1]}}"
    writer = Writer(load("some/grid", [axes]), store, compute)
    writer.add(attack__trigger__size=6, defense__in_modal_weight=0)
    writer.add(attack__trigger__size=4, defense__in_modal_weight=1)
    writer.add(attack__trigger__size=6, defense__in_modal_weight=1)
    writer.add(attack__trigger__size=4, defense__in_modal_weight=0)
    # By the axis that they belong to; λ₂ has no say in how a trigger looks.
    assert writer.examples == {"side = 4": "badnet", "side = 6": "badnet"}


def test_a_study_ends_without_a_picture(writer: Writer, store: Store) -> None:
    trial = writer.loaded.trial({LAMBDA: 1}, 0)
    job = jobs(trial)[-1]
    assert job.evaluation is not None
    numbers = {"history": [], "metrics": {"attack_success_rate_top1": 0.5, "clean_accuracy_top1": 0.5}}
    made = {"commit": "abc", "python": "3.11", "versions": {}, "worker": "host:1", "started": 1e9, "seconds": 2.0}
    store.save("defend", job.key, {**numbers, **made}, {})
    store.save("evaluate", job.evaluation.key, numbers, {})
    result = job.find(store)
    assert result is not None
    writer.folder.add_trial(trial, result)
    # It is listed, so that the report can say that it is missing.
    assert writer.examples == {"badnet": ""}
    assert "The picture is missing" in report.build(writer.folder.folder).page.read_text(encoding="utf-8")
