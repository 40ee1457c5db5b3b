"""What the trigger does to the clean base comes with the victims, and stores that lack it are as good as before."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bdray import report
from bdray.pipeline.stages import Stage
from bdray.pipeline.store import Store
from bdray.report.clean_base import clean_rates
from bdray.report.results import load as load_results
from bdray.study.plan import Job, jobs, plan
from bdray.study.results import ResultsFolder, results_folder
from bdray.study.search.base import Proposal
from bdray.study.spec import LoadedStudy, load
from bdray.study.worker import payload, run_job

POINT = {"defense.in_modal_weight": 1}
COUNTS = {"num_images": 32, "num_non_target_images": 30}


def put(store: Store, stage: Stage, **manifest: object) -> None:
    found = store.find(stage.name, stage.key) or {}
    store.place.remove_folder(f"{stage.name}/{stage.key}")  # what is there stays, or it would be no store
    store.save(stage.name, stage.key, {**found, **manifest}, {})


@pytest.fixture
def folder(grid: LoadedStudy, store: Store, compute: Callable[..., None]) -> Callable[..., ResultsFolder]:
    """The results of one trial and its victim; ``base`` and ``counts`` are what the store has of them."""

    def fill(base: dict[str, float] | None, counts: dict[str, int] | None) -> ResultsFolder:
        trial = grid.trial(POINT, 0)
        _, *rest = chain = jobs(trial)
        for job in chain:
            compute(job)
        evaluation = rest[0].base_evaluation
        assert evaluation is not None
        if base is not None:
            put(store, evaluation, metrics=base)
        for job in rest if counts else ():
            assert job.evaluation is not None
            put(store, job.evaluation, counts=counts)
        made = ResultsFolder(results_folder(grid), grid, store, planned_trials=4)
        results = [found for job in rest if (found := job.find(store))]
        made.add_victim(trial, results[0])
        made.add_trial(trial, results[1])
        made.write()
        return made

    return fill


def test_rows_know_base_counts_and_victim(folder: Callable[..., ResultsFolder]) -> None:
    base = {"attack_success_rate_top1": 0.125, "clean_accuracy_top1": 0.5, "trigger_psnr": 20.0}
    results = load_results(folder(base, COUNTS).folder)
    # Victim and trial have the same base, the same number of images, and one victim: the victim itself.
    assert list(results.models["base_attack_success_rate_top1"]) == [0.125, 0.125]
    assert list(results.models["num_non_target_images"]) == [30, 30]
    assert set(results.models["victim_key"]) == {results.victims["key"].iloc[0]}
    assert "base_trigger_psnr" not in results.models
    # The report shows it, once.
    assert [rate.rate for rate in clean_rates(results)] == [0.125]


def test_a_store_that_lacks_them_is_read_as_before(folder: Callable[..., ResultsFolder], store: Store) -> None:
    made = folder(None, None)
    results = load_results(made.folder)
    assert not {"base_attack_success_rate_top1", "num_images"} & set(results.models.columns)
    # The report is built, and shows nothing of it.
    assert "Clean model" not in report.build(made.folder).page.read_text(encoding="utf-8")


def test_a_finished_study_has_nothing_to_compute_for_it(
    grid: LoadedStudy, store: Store, folder: Callable[..., ResultsFolder]
) -> None:
    folder(None, None)
    proposal = Proposal(0, POINT)
    first = {job.key for job in jobs(grid.trial(POINT, 0))}
    # The base is not judged, and yet all of the first seed's jobs are done.
    assert first <= plan(grid, [proposal], store).finished


@pytest.fixture
def run(workplace: Path, store: Store, tmp_path: Path, cache: Path) -> Callable[[Job], None]:
    """Computes a job as a worker does, in this process."""

    def compute(job: Job) -> None:
        runtime = load("some/grid", runtime={"store": str(tmp_path / "store")}).runtime
        told = {**payload(job, runtime, 1), "cache": str(cache)}
        run_job(told, lambda message: None)

    return compute


@pytest.mark.slow
def test_a_worker_judges_the_base_once(grid: LoadedStudy, store: Store, run: Callable[[Job], None]) -> None:
    base, *first = jobs(grid.trial(POINT, 0))
    victim = jobs(grid.trial(POINT, 1))[1]
    evaluation = first[0].base_evaluation
    assert evaluation is not None
    run(base)
    # Not with the base, which knows no attack,
    assert store.find("evaluate", evaluation.key) is None
    run(first[0])
    found = store.find("evaluate", evaluation.key)
    assert found is not None
    assert "attack_success_rate_top1" in found["metrics"]
    run(first[1])
    run(victim)
    # but with the first victim, for all seeds and defenses.
    assert store.find("evaluate", evaluation.key) == found
    result = first[0].find(store)
    assert result is not None
    assert result.base == found["metrics"]
    assert result.counts["num_images"] == 32


@pytest.mark.slow
def test_a_lost_base_is_not_trained_again(
    grid: LoadedStudy, store: Store, run: Callable[[Job], None], tmp_path: Path
) -> None:
    base, victim, defended = jobs(grid.trial(POINT, 0))
    run(base)
    run(victim)
    for folder in (tmp_path / "store" / "pretrain", tmp_path / "store" / "evaluate"):
        shutil.rmtree(folder)
    run(defended)
    # The defense needs the victim alone; the base stays away, and with it what is measured on it.
    assert store.find("pretrain", base.key) is None
    assert defended.find(store) is not None
