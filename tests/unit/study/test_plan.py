"""A study as jobs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bdray.exceptions import ConfigError
from bdray.pipeline.stages import LearnTrigger
from bdray.pipeline.store import Store
from bdray.study.plan import Job, jobs, plan
from bdray.study.runner import known_plan
from bdray.study.runtime import Launch
from bdray.study.spec import LoadedStudy, load

Compute = Callable[..., None]


def test_a_plan_holds_each_job_once_inputs_first(grid: LoadedStudy, store: Store) -> None:
    found = known_plan(grid, store)
    # Two values, two seeds: one base, two victims, four defenses.
    assert [job.stage.name for job in found.jobs].count("pretrain") == 1
    assert [job.stage.name for job in found.jobs].count("victim") == 2
    assert len({job.key for job in found.jobs}) == len(found.jobs) == 7
    order = [job.key for job in found.jobs]
    assert all(order.index(key) < order.index(job.key) for job in found.jobs for key in job.needs)
    # To look at the store does not create it.
    assert not Path(store.uri).exists()
    assert found.missing == found.jobs


def test_a_plan_knows_what_is_there(grid: LoadedStudy, store: Store, compute: Compute) -> None:
    base, victim, defense = jobs(grid.trial({"defense.in_modal_weight": 1}, 0))
    for job in (base, victim, defense):
        compute(job)
    found = known_plan(grid, store)
    assert found.finished == {base.key, victim.key, defense.key}
    assert len(found.missing) == 4


def test_jobs_have_names_for_people(grid: LoadedStudy) -> None:
    assert [job.label for job in jobs(grid.trial({"defense.in_modal_weight": 0.5}, 1))] == [
        "base",
        "victim seed=1",
        "λ₂=0.5 seed=1",
    ]


def test_a_base_is_not_evaluated_under_attack(grid: LoadedStudy) -> None:
    base, victim, defense = jobs(grid.trial({"defense.in_modal_weight": 1}, 0))
    assert base.evaluation is None
    # Each evaluation is that of its own model.
    assert victim.evaluation is not None
    assert defense.evaluation is not None
    assert (victim.evaluation.inputs, defense.evaluation.inputs) == ((victim.stage,), (defense.stage,))


def test_a_search_plans_nothing_beforehand(search: LoadedStudy, store: Store) -> None:
    assert known_plan(search, store).jobs == ()


def test_costs(grid: LoadedStudy, workplace: Path, store: Store) -> None:
    base, victim, defense = jobs(grid.trial({"defense.in_modal_weight": 1}, 0))
    finetune = jobs(grid.trial({"defense.in_modal_weight": 0}, 0))[-1]
    # Samples times epochs; the self-supervised loss needs each image twice.
    assert [job.images for job in (base, victim, defense, finetune)] == [64, 64, 64 * 3 * 2, 64 * 3]
    fewer = load("some/grid", ["defense.num_samples=32", "victim.num_samples=48"])
    _, victim, defense = jobs(fewer.trial({"defense.in_modal_weight": 0}, 0))
    # Fewer where the experiment says so.
    assert [job.images for job in (victim, defense)] == [48, 32 * 3]


def test_an_experiment_without_a_base(workplace: Path, store: Store) -> None:
    loaded = load("some/grid", ["pretrain=null"])
    found = known_plan(loaded, store)
    # Poisoned pretraining: the victims come first.
    assert {job.stage.name for job in found.jobs} == {"victim", "defend"}
    assert all(job.needs == () for job in found.jobs if job.stage.name == "victim")


def test_settings_of_speed_that_would_train_something_else_are_refused(workplace: Path, store: Store) -> None:
    # The miniature's tower has batch normalization.
    loaded = load("some/grid", ["training.micro_batch=8"])
    with pytest.raises(ConfigError, match=r"^training.micro_batch: scenes-rn8? has batch normalization"):
        known_plan(loaded, store)
    plain, quick = (load("some/grid", words) for words in ([], ["training.precision=bf16", "training.compile=true"]))
    # Others are nobody's science: the jobs stay the same.
    assert [job.key for job in known_plan(quick, store).jobs] == [job.key for job in known_plan(plain, store).jobs]


def test_points_that_agree_share_a_job(grid: LoadedStudy, store: Store) -> None:
    from bdray.study.search.base import Proposal

    points = [Proposal(number, {"defense.in_modal_weight": value}) for number, value in enumerate((1, 1.0))]
    assert len([job for job in plan(grid, points, store).jobs if job.stage.name == "defend"]) == 2  # one per seed


def test_a_payload_is_rebuilt_to_the_same_job(grid: LoadedStudy) -> None:
    from bdray.study.worker import launch_of, payload, rebuild

    for job in jobs(grid.trial({"defense.in_modal_weight": 0.1}, 0)):
        told = payload(job, grid.runtime, num_workers=2)
        again: Job = rebuild(told)
        # What a worker computes is what the driver will look for, after a trip through JSON.
        assert again.key == job.key == told["key"]
        assert (again.label, again.evaluation and again.evaluation.key) == (
            job.label,
            job.evaluation and job.evaluation.key,
        )
        assert told["store"] == grid.runtime.store_uri
        assert launch_of(told) == replace(grid.runtime.training, num_workers=2)


def test_a_job_asks_only_for_workers_that_it_has_use_for(grid: LoadedStudy, store: Store) -> None:
    launch = Launch(num_workers=4)
    _, victim, defend = jobs(grid.trial({"defense.in_modal_weight": 0.1}, 0))
    trigger = Job(LearnTrigger(victim.stage.experiment), "trigger", "test")
    store.save(victim.stage.name, victim.key, {}, {})
    # A training shares its batches; an evaluation that is all there is left, and a learned trigger, share nothing.
    assert [job.num_workers(launch, store) for job in (defend, victim, trigger)] == [4, 1, 1]


def test_a_search_is_judged_on_validation_and_a_grid_on_test(grid: LoadedStudy, search: LoadedStudy) -> None:
    of_grid = jobs(grid.trial({"defense.in_modal_weight": 1}, 0))[-1]
    of_search = jobs(search.trial({"defense.in_modal_weight": 1}, 0))[-1]
    assert (of_grid.split, of_search.split) == ("test", "validation")
    assert of_grid.evaluation is not None
    assert of_search.evaluation is not None
    # the two have other numbers, so the store must not take one for the other
    assert of_grid.evaluation.key != of_search.evaluation.key


def test_a_search_must_not_see_the_test_split(workplace: Path) -> None:
    with pytest.raises(ConfigError, match=r"command line: split: a search chooses by what it sees"):
        load("some/search", ["split=test"])
    assert load("some/grid", ["split=validation"]).split == "validation"
