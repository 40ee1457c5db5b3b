"""What a run's data sets say: which data, and how much of it is poisoned."""

from bdray.study.inputs import inputs
from bdray.study.plan import jobs
from bdray.study.spec import LoadedStudy, load
from bdray.tracking import DataInput

LAMBDA = "defense.in_modal_weight"


def by_stage(loaded: LoadedStudy, seed: int = 0, weight: float = 1) -> dict[str, list[DataInput]]:
    return {job.stage.name: inputs(job) for job in jobs(loaded.trial({LAMBDA: weight}, seed))}


def test_each_stage_lists_what_it_reads(grid: LoadedStudy) -> None:
    data = grid.trial({LAMBDA: 1}, 0).experiment.data
    found = by_stage(grid)
    assert {stage: [(each.name, each.context) for each in read] for stage, read in found.items()} == {
        "pretrain": [("scenes train", "training")],
        "victim": [("scenes train, 8 poisoned by badnet", "training"), ("scenes test", "evaluation")],
        "defend": [("scenes finetune", "training"), ("scenes test", "evaluation")],
    }
    # A whole split is known by its fingerprint; the size is MLflow's to show.
    assert found["defend"][0].digest == data.fingerprint("finetune")
    assert found["defend"][1].digest == data.fingerprint("test")
    assert found["victim"][0].profile == {"num_rows": 64, "num_poisoned": 8}


def test_what_is_poisoned_differently_is_another_data_set(grid: LoadedStudy) -> None:
    def poisoned(words: list[str], seed: int = 0) -> str:
        return by_stage(load("some/grid", words), seed)["victim"][0].digest

    digests = [
        poisoned([]),
        poisoned([], seed=1),
        poisoned(["attack.num_poisoned=4"]),
        poisoned(["attack.target=apple"]),
        poisoned(["victim.num_samples=48"]),
    ]
    # Seed, attack and draw each make another set; the defense does not.
    assert len(set(digests)) == len(digests)
    assert by_stage(grid, weight=0)["victim"] == by_stage(grid, weight=1)["victim"]
    # MLflow takes no longer ones.
    assert max(map(len, digests)) <= 36


def test_a_part_of_the_clean_pairs_is_not_taken_for_all(grid: LoadedStudy) -> None:
    whole = by_stage(grid)["defend"][0]
    some = by_stage(load("some/grid", ["defense.num_samples=32"]))["defend"][0]
    other = by_stage(load("some/grid", ["defense.num_samples=32"]), seed=1)["defend"][0]
    assert (some.name, some.profile) == ("scenes finetune, 32 clean", {"num_rows": 32})
    assert len({whole.digest, some.digest, other.digest}) == 3
    # The clean originals of what was not poisoned depend on what was.
    unpoisoned = by_stage(load("some/grid", ["defense.clean_data=train_unpoisoned"]))["defend"][0]
    assert unpoisoned.profile == {"num_rows": 56}


def test_a_defense_in_the_victims_place_reads_the_poisons(workplace: object) -> None:
    words = [
        "experiment={defense: {type: ssl_pretraining}}",
        "axes={defense.in_modal_weight: {values: [1, 2], names: {}}}",
    ]
    job = jobs(load("some/grid", words).trial({LAMBDA: 1}, 0))[-1]
    assert [each.name for each in inputs(job)] == ["scenes train, 8 poisoned by badnet", "scenes test"]
