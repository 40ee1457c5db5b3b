"""Three workers judge a model as one does: no sample dropped, none twice, to the bit.

All cases run in one group of processes, because starting them takes seconds; each test looks at one result.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from bdray import config
from bdray.data.base import Pairs
from bdray.data.tasks.imagenet import ImageNet
from bdray.evaluation.metrics.base import Features
from bdray.evaluation.metrics.transfer_probe import TransferProbe
from bdray.evaluation.sharing import in_batches
from bdray.evaluation.zero_shot import encode
from bdray.models.execution import Execution
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages.measure import measure
from bdray.testing import tiny_material, tiny_model

WORKERS = 3
SIZES = (1, 2, 5, 7, 8, 9, 16, 23)
"""Of sets, in batches of 4: fewer batches than workers, a last one that is not full, and as many for each."""
EXECUTIONS = {"fp32": Execution(), "bf16": Execution(precision="bf16")}
EXPERIMENT = {
    "data": {"type": "scenes", "num_train": 64, "num_finetune": 64, "num_validation": 16, "num_test": 61},
    "model": {"architecture": "scenes-rn8"},
    "attack": {"trigger": {"type": "badnet", "size": 6}, "num_poisoned": 8},
    "victim": {"recipe": {"epochs": 1, "batch_size": 32, "learning_rate": 1e-3}},
    "defense": None,
}


def rows(positions: Tensor) -> Tensor:
    return torch.stack([positions * 10.0, positions.sum().expand(len(positions)).double()], dim=1)


def judged(execution: Execution, cache: Path, *, shared: bool) -> dict[str, float]:
    """All default metrics on 61 images."""
    experiment = config.build(Experiment, EXPERIMENT, "test")
    model, trigger = experiment.model.build(seed=0).eval(), experiment.attack.trigger
    pairs = experiment.data.load("test", cache)
    return measure(experiment, model, pairs, trigger, in_the_end=True, execution=execution, shared=shared)


def features(cache: Path, *, shared: bool) -> Features:
    """With batches of 7, of which the last one has 5."""
    experiment = config.build(Experiment, EXPERIMENT, "test")
    pairs: Pairs = experiment.data.load("test", cache)
    model = experiment.model.build(seed=0).eval()
    tokenizer, trigger = experiment.model.tokenizer(), experiment.attack.trigger
    return encode(model, tokenizer, experiment.data, pairs, trigger, "banana", shared=shared)


def probed(*, shared: bool) -> list[float]:
    """A probe of 64 images in batches of 7, its accuracy on 64 others, and their features."""
    given = replace(tiny_material(), shared=shared)
    rows, task = torch.eye(2), ImageNet()
    found = TransferProbe(task=task).measure(Features(rows, rows, rows, torch.arange(2), 0, material=given))
    return [*found.values(), *given.task(task)[1].features.flatten().tolist()]


def work(rank: int, folder: Path, cache: Path) -> None:
    """What each of the processes does."""
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'meeting'}"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORKERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bdray.evaluation.sharing.in_batches.__kwdefaults__", {"shared": False, "batch": 7})
        found = {
            "rows": {str(size): in_batches(size, rows, shared=True, batch=4).tolist() for size in SIZES},
            "metrics": {name: judged(execution, cache, shared=True) for name, execution in EXECUTIONS.items()},
            "probe": probed(shared=True),
        }
        torch.save(vars_of(features(cache, shared=True)), folder / f"features-{rank}.pt")
    (folder / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def vars_of(found: Features) -> dict[str, Tensor]:
    return {name: value for name, value in vars(found).items() if isinstance(value, Tensor)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Where the workers left their results."""
    path = tmp_path_factory.mktemp("workers")
    config.build(Experiment, EXPERIMENT, "test").data.load("test", cache)
    spawn(work, args=(path, cache), nprocs=WORKERS)
    return path


@pytest.mark.parametrize("size", SIZES)
def test_alone_rows_come_in_order(size: int) -> None:
    found = in_batches(size, rows, batch=4)
    assert found[:, 0].tolist() == [10.0 * position for position in range(size)]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_every_worker_gets_every_row_once(size: int, folder: Path) -> None:
    expected = in_batches(size, rows, batch=4).tolist()
    # In order, and each in the company that it has on one worker (the second column tells who passed together).
    for rank in range(WORKERS):
        assert json.loads((folder / f"{rank}.json").read_text())["rows"][str(size)] == expected


@pytest.mark.slow
def test_features_are_those_of_one_worker_to_the_bit(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bdray.evaluation.sharing.in_batches.__kwdefaults__", {"shared": False, "batch": 7})
    expected = vars_of(features(cache, shared=False))
    for rank in range(WORKERS):
        found = torch.load(folder / f"features-{rank}.pt")
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert len(expected["clean"]) == 61


@pytest.mark.slow
@pytest.mark.parametrize("precision", EXECUTIONS)
def test_metrics_are_those_of_one_worker(
    precision: str, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bdray.evaluation.sharing.in_batches.__kwdefaults__", {"shared": False, "batch": 7})
    expected = judged(EXECUTIONS[precision], cache, shared=False)
    for rank in range(WORKERS):
        assert json.loads((folder / f"{rank}.json").read_text())["metrics"][precision] == expected
    assert "clean_accuracy_top1" in expected


@pytest.mark.slow
def test_a_probe_is_that_of_one_worker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bdray.evaluation.sharing.in_batches.__kwdefaults__", {"shared": False, "batch": 7})
    expected = probed(shared=False)
    for rank in range(WORKERS):
        assert json.loads((folder / f"{rank}.json").read_text())["probe"] == expected


def test_class_names_are_tokenized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from bdray.evaluation.zero_shot import class_weights
    from bdray.testing import tiny_tokenizer

    tokenizer, calls = tiny_tokenizer(), []

    class Counting:
        context_length = tokenizer.context_length

        def __call__(self, captions: list[str]) -> Tensor:
            calls.append(len(captions))
            return tokenizer(captions)

    counting, model = Counting(), tiny_model("vit").eval()
    first, again = (class_weights(model, counting, ["ball", "boot"], ["a {}", "one {}"]) for _ in range(2))  # type: ignore[arg-type]
    # ImageNet has 80,000 prompts, and every epoch of a study asks for them.
    assert calls == [4]
    assert torch.equal(first, again)
