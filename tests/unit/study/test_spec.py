"""From a name and some words on the command line to a study that is ready to be planned."""

from pathlib import Path
from typing import Any

import pytest

from bdray.attacks.triggers.blended import Blended
from bdray.config import get_dotted
from bdray.exceptions import ConfigError
from bdray.study.plan import jobs
from bdray.study.results import results_folder
from bdray.study.spec import LoadedStudy, load


def write(name: str, text: str) -> None:
    """Add a study to the workplace."""
    path = Path("studies") / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def keys(loaded: LoadedStudy) -> list[str]:
    return [job.key for job in jobs(loaded.trial({"defense.in_modal_weight": 1}, 0))]


# Where the values come from.


def test_a_study_lies_over_its_base(grid: LoadedStudy) -> None:
    # The base gives the recipe, the study its own fields, the rest are defaults.
    assert get_dotted(grid.base, "defense.recipe.epochs") == 3
    assert get_dotted(grid.base, "defense.clip_weight") == 0.5
    experiment = grid.trial({"defense.in_modal_weight": 1}, seed=5).experiment
    assert experiment.defense is not None
    assert experiment.defense.recipe.beta1 == 0.9
    assert experiment.seed == 5
    assert not grid.is_changed


def test_bases_may_have_bases(workplace: Path) -> None:
    loaded = load("some/grid", base="weaker")
    trigger = loaded.trial({}, 0).experiment.attack.trigger
    # weaker over blended over tiny; another type of trigger starts afresh, so no field of the badnet is left.
    assert trigger == Blended(alpha=0.1)
    assert get_dotted(loaded.base, "data.num_train") == 64
    # The study's own fields stay on top, and it is another study now.
    assert get_dotted(loaded.base, "defense.clip_weight") == 0.5
    assert loaded.is_changed
    assert loaded.id != load("some/grid").id


def test_overrides_reach_experiment_study_and_runtime(workplace: Path) -> None:
    words = ["defense.recipe.epochs=7", "seeds=[4]", "training.num_workers=2", "attack.trigger={type: blended}"]
    loaded = load("some/grid", words, runtime={"output": "there"})
    # Each word finds its place by its first name.
    assert get_dotted(loaded.base, "defense.recipe.epochs") == 7
    assert loaded.study.seeds == (4,)
    assert loaded.runtime.training.num_workers == 2
    assert loaded.runtime.output == Path("there")
    assert loaded.base["attack"]["trigger"] == {"type": "blended"}


def test_the_command_line_wins(workplace: Path) -> None:
    loaded = load("some/grid", ["defense.clip_weight=2", "title=Mine", "output=here"], runtime={"output": "there"})
    # Over the study's file, and a word over an option.
    assert get_dotted(loaded.base, "defense.clip_weight") == 2
    assert loaded.study.title == "Mine"
    assert loaded.runtime.output == Path("here")


def test_values_of_an_axis_can_be_given(workplace: Path) -> None:
    loaded = load("some/grid", ["axes={defense.in_modal_weight: {values: [3]}}"])
    # Dots inside of braces are part of the name.
    assert loaded.study.axes["defense.in_modal_weight"].values == (3,)
    assert loaded.study.axes["defense.in_modal_weight"].label == "λ₂"


@pytest.mark.parametrize("name", ["some/grid", "some/grid.yaml", "studies/some/grid.yaml"])
def test_a_study_may_be_named_as_a_file(workplace: Path, name: str) -> None:
    # What a shell completes is understood.
    assert load(name).name == "some/grid"


# What is the same and what is another study.


@pytest.mark.parametrize(
    "words",
    [["training.num_workers=2"], ["cpus=1"], ["training.gpus_per_worker=0.5"], ["training.max_retries=0", "cpus=3"]],
)
def test_the_runtime_changes_no_key_and_no_folder(grid: LoadedStudy, words: list[str]) -> None:
    places = {"store": "s3://bucket", "tracking_uri": "http://there", "address": "auto"}
    loaded = load("some/grid", words, runtime=places)
    # Where and how it runs decides nothing of what comes out.
    assert keys(loaded) == keys(grid)
    assert loaded.id == grid.id
    assert results_folder(loaded) == results_folder(grid)


@pytest.mark.parametrize(
    "word", ["seeds=[0]", "defense.clip_weight=2", "axes={defense.in_modal_weight: {values: [3]}}"]
)
def test_a_study_that_was_changed_has_a_folder_of_its_own(grid: LoadedStudy, word: str) -> None:
    changed = load("some/grid", [word])
    # The report of the study as published is not overwritten; the same change comes back to the same folder.
    assert changed.id != grid.id
    assert results_folder(changed).name == f"grid-{changed.id[:8]}"
    assert results_folder(load("some/grid", [word])) == results_folder(changed)


def test_paths_do_not_follow_the_working_folder(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load("some/grid", runtime={"store": "shared/store"})
    uri = loaded.runtime.store_uri
    # A worker on another machine or in another folder is told the same place.
    assert uri == str(workplace / "shared" / "store")
    # A URI is what it is.
    assert load("some/grid", runtime={"store": "s3://bucket/store"}).runtime.store_uri == "s3://bucket/store"
    assert load("some/grid").runtime.store_uri == str(workplace / ".bdray" / "store")
    assert load("some/grid").runtime.tracking == f"sqlite:///{workplace / '.bdray' / 'mlflow.db'}"


# Mistakes.

TABLE3 = "paper: CleanCLIP, table: Table3, defense: No defense"
ATTACKS = "{column: attack, values: {'0': BadNet, '1': null}}"
MISTAKES: list[tuple[str, list[str], str | None, list[str]]] = [
    ("some/gird", [], None, ["study 'some/gird'", "there is no such study", "'some/grid'"]),
    ("base/tiny", [], None, ["study 'base/tiny'", "there is no such study"]),
    ("some/grid", [], "tinny", ["base 'tinny'", "there is no such base", "'tiny'"]),
    ("some/grid", ["defence.clip_weight=1"], None, ["override 'defence'", "'defense'"]),
    ("some/grid", ["seedz=[0]"], None, ["override 'seedz'", "'seeds'"]),
    ("some/grid", ["trainin.num_workers=2"], None, ["override 'trainin'", "'training'"]),
    ("some/grid", ["training.num_worker=2"], None, ["training.num_worker", "unknown field", "'num_workers'"]),
    ("some/grid", ["training.num_workers=0"], None, ["command line", "training.num_workers", "0"]),
    ("some/grid", ["training.num_workers=2", "training.gpus_per_worker=0.5"], None, ["training.gpus_per_worker"]),
    ("some/grid", ["seeds=[0,1,0]"], None, ["seeds", "[0, 1, 0]", "once"]),
    ("some/grid", ["seeds=[]"], None, ["seeds", "at least 1"]),
    ("some/grid", ["seeds=[-1]"], None, ["command line: seeds.0: -1", "at least 0"]),
    ("some/grid", ["seed=5"], None, ["override 'seed': has no effect", "seeds=["]),
    ("some/grid", ["defense.in_modal_weight=3"], None, ["'defense.in_modal_weight': has no effect", "'axes={"]),
    (
        "some/grid",
        [
            "axes={kind: {variants: {a: {attack: {num_poisoned: 4}}, b: {attack: {num_poisoned: 8}}}}}",
            "attack.num_poisoned=2",
        ],
        None,
        ["override 'attack.num_poisoned': has no effect", "'kind'"],
    ),
    ("some/grid", ["compare=[0,1,2]"], None, ["compare", "at most 2"]),
    ("some/grid", ["search.type=optunna"], None, ["search.type", "'optunna'", "'optuna'"]),
    ("some/grid", ["search={type: optuna, num_points: 0}"], None, ["search.num_points", "0"]),
    ("some/search", ["search={type: grid}"], None, ["axes.defense.in_modal_weight", "values", "optuna"]),
    ("some/grid", ["axes={seed: {values: [1, 2]}}"], None, ["axes.seed", "seeds"]),
    ("some/search", ["axes={defense.in_modal_wait: {low: 1, high: 2}}"], None, ["in_modal_wait", "'in_modal_weight'"]),
    ("some/search", ["axes={defense.in_modal_weight: {low: -1, high: 2}}"], None, ["defense.in_modal_weight", "-1"]),
    ("some/search", ["defense.recipe.batch_size=65"], None, ["defense.recipe.batch_size", "65", "64"]),
    ("some/grid", ["defense.recipe.batch_size=65"], None, ["defense.recipe.batch_size", "65", "64"]),
    ("some/grid", ["compare=[0,2]"], None, ["command line: compare: 2", "not a value", "[]"]),
    ("some/search", ["compare=[0,2]"], None, ["command line: compare: 0", "not a value"]),
    (
        "some/grid",
        ["published=[{paper: CleanClip, table: Fig5, attack: Blended, axis: lambda2}]"],
        None,
        ["published", "'CleanClip'", "'CleanCLIP'"],
    ),
    (
        "some/grid",
        [f"published=[{{{TABLE3}, at: victim, match: {{defense.in_modal_weight: {ATTACKS}}}}}]"],
        None,
        ["published", "`match` names defense.in_modal_weight", "victims depend on none"],
    ),
    (
        "some/grid",
        ["axes={attack.num_poisoned: {values: [4, 8]}}", f"published=[{{{TABLE3}, attack: BadNet, at: victim}}]"],
        None,
        ["published", "`match` names no axis", "victims depend on attack.num_poisoned"],
    ),
    (
        "some/grid",
        ["goals={clean_accuracy: 0.9}"],
        None,
        ["command line: goals.clean_accuracy", "'clean_accuracy_top1'"],
    ),
    ("some/grid", ["goals={clean_accuracy_top1: 90}"], None, ["goals.clean_accuracy_top1: 90", "fraction"]),
    (
        "some/grid",
        ["metrics=[{name: clean_acuracy_top1, label: CA, goal: max}]"],
        None,
        ["command line: metrics.0.name: clean_acuracy_top1", "none of the study's points", "'clean_accuracy_top1'"],
    ),
    (
        "some/search",
        ["evaluation.metrics=[{type: clean_accuracy, top_k: [3]}]"],
        None,
        ["metrics.0.name: attack_success_rate_top1", "none of the study's points"],
    ),
    (
        "some/grid",
        ["metrics=[{name: detection_recall, label: recall, goal: max}]"],
        None,
        ["metrics.0.name: detection_recall", "detect poisons", "abl, ubt"],
    ),
    ("some/grid", ["reference=2"], None, ["command line: reference: 2", "last axis"]),
    ("some/grid", ["axes={role: {variants: {a: {attack: {}}}}}"], None, ["axes.role", "column", "another"]),
    ("some/grid", ["training.num_workers=3"], None, ["pretrain.recipe.batch_size", "32", "3 workers", "multiple"]),
    ("some/search", ["training.num_workers=3"], None, ["pretrain.recipe.batch_size", "32", "3 workers", "multiple"]),
    ("some/grid", ["defense.recipe.epoch=1"], None, ["command line: defense.recipe.epoch: ", "'epochs'"]),
]


@pytest.mark.parametrize(("name", "words", "base", "parts"), MISTAKES)
def test_mistakes_are_told_before_anything_runs(
    workplace: Path, name: str, words: list[str], base: str | None, parts: list[str]
) -> None:
    from bdray.pipeline.store import Store
    from bdray.study.runner import known_plan

    with pytest.raises(ConfigError) as error:
        known_plan(load(name, words, base=base), Store("store", workplace))
    # What is wrong, where, and what was probably meant.
    assert [part for part in parts if part not in str(error.value)] == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("title: T\nbase: tiny\naxes: {}\ntitel: U\n", ["titel", "'title'"]),
        ("base: tiny\naxes: {}\n", ["title", "is required"]),
        ("title: T\naxes: {}\n", ["base", "is required"]),
        ("title: T\nbase: tiny\naxes: {}\ntitle: U\n", ["title", "duplicate"]),
        ("title: T\nbase: [tiny\n", ["cannot be read as YAML"]),
        ("- title\n", ["must hold a mapping"]),
        ("title: T\nbase: tiny\naxes: {defense.in_modal_weight: {}}\n", ["axes.defense.in_modal_weight", "values"]),
    ],
)
def test_mistakes_in_a_file_name_the_file(workplace: Path, text: str, parts: list[str]) -> None:
    write("some/broken", text)
    with pytest.raises(ConfigError) as error:
        load("some/broken")
    assert [part for part in ["some/broken.yaml", *parts] if part not in str(error.value)] == []


WRONG = """
title: Wrong in two places
base: tiny
experiment: {defense: {clip_weight: -2}}
axes: {defense.in_modal_weight: {values: [-1]}}
seeds: [0]
"""


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        # What the command line says is its mistake, be it of the experiment or of the study; the rest stays the file's.
        (["defense.clip_weight=-3"], ["command line: defense.clip_weight: -3 ", "FILE: defense.in_modal_weight: -1 "]),
        (["experiment={defense: {clip_weight: -3}}"], ["command line: defense.clip_weight: -3 ", "FILE: "]),
        (["axes={defense.in_modal_weight: {values: [-3]}}"], ["command line: defense.in_modal_weight: -3 ", "FILE: "]),
        (["metrics=[{name: a, label: a, goal: up}]"], ["command line: metrics.0.goal: 'up' "]),
        # A component of another type starts afresh: what it lacks is missing on the command line.
        (["victim={type: given}"], ["command line: victim.weights: is required", "FILE: ", "FILE: "]),
        # An axis would win over the command line's value, which therefore is refused before any value is looked at.
        (["defense.in_modal_weight=3", "defense.clip_weight=1"], ["override 'defense.in_modal_weight': has no effect"]),
    ],
)
def test_the_command_line_answers_for_what_it_says(workplace: Path, words: list[str], lines: list[str]) -> None:
    write("some/wrong", WRONG)
    with pytest.raises(ConfigError) as error:
        load("some/wrong", words)
    found = str(error.value).replace(str(workplace / "studies/some/wrong.yaml"), "FILE").splitlines()
    found.sort(key=lambda line: line.startswith("FILE"))
    assert [line[: len(start)] for line, start in zip(found, lines, strict=True)] == lines


def test_an_unknown_base_names_the_file_that_asks_for_it(workplace: Path) -> None:
    write("base/orphan", "base: tini\n")
    with pytest.raises(ConfigError, match=r"base/orphan\.yaml: base 'tini': there is no such.* Did you mean 'tiny'"):
        load("some/grid", base="orphan")


def test_bases_in_a_circle_are_refused(workplace: Path) -> None:
    write("base/hen", "base: egg\n")
    write("base/egg", "base: hen\n")
    with pytest.raises(ConfigError, match="egg"):
        # Rather than to look for the first one forever.
        load("some/grid", base="hen")


# Labels.


@pytest.mark.parametrize(
    ("point", "seed", "label"),
    [
        ({"defense.in_modal_weight": 0.5}, 1, "λ₂=0.5 seed=1"),
        ({"defense.in_modal_weight": 1.0}, None, "λ₂=1"),
        ({"defense.in_modal_weight": 1e-05}, 0, "λ₂=1e-05 seed=0"),
        ({}, 0, "seed=0"),
    ],
)
def test_trials_are_named_for_people(grid: LoadedStudy, point: dict[str, Any], seed: int | None, label: str) -> None:
    assert grid.label(point, seed) == label
