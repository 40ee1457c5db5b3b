"""A study with a search: what its file may say, and what identifies it."""

from pathlib import Path
from typing import Any

import pytest

from bdray.exceptions import ConfigError
from bdray.study.plan import trials
from bdray.study.search.base import Proposal
from bdray.study.search.optuna import OptunaSearch
from bdray.study.search.random import RandomSearch
from bdray.study.spec import LoadedStudy, load
from bdray.study.stopping.halving import Halving

FULL = """
title: A search with everything
base: tiny
axes:
  defense.recipe.epochs: {low: 2, high: 8, integer: true}
  defense.in_modal_weight: {label: λ₂, low: 0.1, high: 8, log: true, when: {defense: cleanclip}}
  defense:
    variants:
      cleanclip: {defense: {type: cleanclip}}
      finetune: {defense: {type: supervised}}
search:
  type: optuna
  sampler: gp
  num_points: 20
  max_compute_hours: 2
  max_hours: 12.5
  constraints:
    - {metric: clean_accuracy_top1, max_loss: 0.05}
    - {metric: embedding_distance, at_least: 0.1}
  start:
    - {defense: cleanclip, defense.in_modal_weight: 1, defense.recipe.epochs: 6}
    - {defense: finetune, defense.recipe.epochs: 6}
  stopping: {type: halving, metric: attack_success_rate_top1, min_epochs: 2}
seeds: [0]
"""


@pytest.fixture
def full(workplace: Path) -> LoadedStudy:
    (workplace / "studies" / "some" / "full.yaml").write_text(FULL, encoding="utf-8")
    return load("some/full")


def test_everything_can_be_said_in_yaml(full: LoadedStudy) -> None:
    search = full.study.search
    assert isinstance(search, OptunaSearch)
    assert (search.sampler, search.num_points, search.max_compute_hours, search.max_hours) == ("gp", 20, 2, 12.5)
    assert [constraint.max_loss for constraint in search.constraints] == [0.05, None]
    assert search.start[0] == {"defense": "cleanclip", "defense.in_modal_weight": 1, "defense.recipe.epochs": 6}
    assert isinstance(search.stopping, Halving)
    assert search.stopping.min_epochs == 2
    # The report learns what it needs to explain the choice.
    described = search.described
    assert described is not None
    assert (described.type, described.num_points) == ("optuna, gp", 20)
    assert [constraint.metric for constraint in described.constraints] == ["clean_accuracy_top1", "embedding_distance"]
    assert described.stopping.startswith("attack_success_rate_top1: unless among the best 1/3 at epochs 2, 6, 18")
    assert search.ends("GPU") == {
        "num_points": "20 points were tried",
        "max_compute_hours": "the compute budget of 2 GPU-hours is spent",
        "max_hours": "the time budget of 12.5 hours is spent",
    }


def test_random_is_a_type_of_its_own(workplace: Path) -> None:
    loaded = load("some/search", ["search={type: random, num_points: 3}"])
    assert loaded.study.search == RandomSearch(num_points=3)
    assert loaded.split == "validation"


def test_an_axis_is_laid_over_what_it_depends_on(full: LoadedStudy) -> None:
    # However the axes are written: the variant comes first, then its knobs.
    point = {"defense.recipe.epochs": 7, "defense.in_modal_weight": 0.5, "defense": "cleanclip"}
    (trial,) = trials(full, Proposal(3, point))
    defense: Any = trial.experiment.defense
    assert (defense.type, defense.in_modal_weight, defense.recipe.epochs) == ("cleanclip", 0.5, 7)
    assert trial.number == 3
    # Where an axis is not turned, the point has no word of it.
    (other,) = trials(full, Proposal(4, {"defense.recipe.epochs": 7, "defense": "finetune"}))
    assert "λ₂" not in other.label
    assert other.experiment.defense is not None
    assert other.experiment.defense.type == "supervised"


def test_a_search_with_more_to_spend_is_the_same_one(workplace: Path) -> None:
    small, large = (load("some/search", [f"search.num_points={number}"]) for number in (4, 40))
    timed = load("some/search", ["search.max_hours=3", "search.max_compute_hours=1"])
    # So its history goes on, where it would begin anew with another sampler or other constraints.
    assert small.id == large.id == timed.id
    assert load("some/search", ["search.seed=1"]).id != small.id
    bound = load("some/search", ["search.constraints=[{metric: clean_accuracy_top1, at_least: 0.5}]"])
    assert bound.id != small.id


def test_where_the_history_is_decides_nothing(workplace: Path) -> None:
    uri = "search_storage=sqlite:////tmp/x.db"
    assert load("some/search", [uri]).id == load("some/search").id
    assert not load("some/search", [uri]).is_changed
    assert load("some/search", [uri]).runtime.search_storage == "sqlite:////tmp/x.db"


def test_gpus_are_counted_where_there_are_any(workplace: Path) -> None:
    plain, gpus = load("some/search"), load("some/search", ["training={num_workers: 4, gpus_per_worker: 1}"])
    shared = load("some/search", ["training.gpus_per_worker=0.25"])
    assert (plain.runtime.training.meter.rate, plain.runtime.training.meter.unit) == (1, "slot")
    assert (gpus.runtime.training.meter.rate, gpus.runtime.training.meter.unit) == (4, "GPU")
    assert shared.runtime.training.meter.rate == 0.25


SEARCH = "search.constraints=[{metric: %s}]"
MISTAKES: list[tuple[list[str], list[str]]] = [
    (["search={type: random}"], ["give at least one of num_points, max_compute_hours and max_hours"]),
    (["search={type: optuna, sampler: bayes, num_points: 1}"], ["search.sampler", "'bayes'", "'tpe'"]),
    (["search.max_hours=0"], ["search.max_hours: 0", "above 0"]),
    ([SEARCH % "clean_acuracy_top1, at_least: 1"], ["clean_acuracy_top1 is not measured at", "'clean_accuracy_top1'"]),
    ([SEARCH % "clean_accuracy_top1"], ["search.constraints.0", "at least one of at_least, at_most and max_loss"]),
    ([SEARCH % "embedding_distance, max_loss: 1"], ["constraints.0.max_loss", "none of the study's metrics"]),
    (
        [SEARCH % "clean_accuracy_top1, max_loss: 0.1", "defense={type: ssl_pretraining}"],
        ["max_loss compares with the victim", "trains in the victim's place"],
    ),
    (["search.stopping={type: halfing}"], ["search.stopping.type", "'halfing'", "'halving'"]),
    (["search.stopping={type: median, min_epochs: 0}"], ["search.stopping.min_epochs", "0"]),
    (
        ["search.stopping={type: median, metric: trigger_psnr, goal: max}", "evaluation.metrics=[%s]"],
        ["stopping.metric: trigger_psnr is not measured after the epochs at"],
    ),
    (
        ["search.stopping={type: median}", "evaluation.epoch_images=0"],
        ["stopping.metric: attack_success_rate_top1 is not measured after the epochs", "Known: loss"],
    ),
    (["search.start=[{defense.in_modal_weight: 80}]"], ["search.start.0.defense.in_modal_weight: 80", "0.1 to 8"]),
    (
        ["axes.defense={variants: {a: {defense: null}}, when: {defence: x}}"],
        ["when.defence", "no such axis", "defense"],
    ),
]
ALL_METRICS = "{type: clean_accuracy}, {type: attack_success_rate}, {type: trigger_visibility}"


@pytest.mark.parametrize(("words", "parts"), MISTAKES)
def test_mistakes_are_told_at_load(workplace: Path, words: list[str], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load("some/search", [word % ALL_METRICS if word.endswith("[%s]") else word for word in words])
    # Field, value, rule.
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_an_objective_must_be_measured_at_every_point(full: LoadedStudy, workplace: Path) -> None:
    path = workplace / "studies" / "some" / "full.yaml"
    metrics = [f"{{name: {name}, label: x, goal: max}}" for name in ("clean_accuracy_top1", "detection_auroc")]
    metric = f"metrics: [{', '.join(metrics)}]\n"
    ubt = FULL.replace("{type: supervised}", "{type: ubt, num_detected: 1}").replace("min_epochs: 2", "goal: min")
    path.write_text(ubt + metric, encoding="utf-8")
    # A grid leaves a cell empty; a search could not compare that point with the others.
    with pytest.raises(ConfigError, match=r"search: detection_auroc is not measured at .*cleanclip"):
        load("some/full")
