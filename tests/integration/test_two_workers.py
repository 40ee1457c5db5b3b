"""A trial that shares its batches among several Ray Train workers comes to the same model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Output

Study = Callable[..., int]
pytestmark = pytest.mark.slow


def histories(output: "Output") -> dict[str, list[dict[str, float]]]:
    """History of each defense, by its key."""
    found = [json.loads(path.read_text()) for path in output.store.glob("defend/*/manifest.json")]
    return {manifest["key"]: manifest["history"] for manifest in found}


def test_two_workers_train_as_one(smoke: "Output", run_study: Study, tmp_path: Path) -> None:
    import ray.util

    output = smoke.copy(tmp_path / "output", without="defend")
    assert run_study(output, "smoke/lambda2", "training.num_workers=2") == 0
    alone, together = histories(smoke), histories(output)
    # The same keys: how many workers there are decides nothing.
    assert alone.keys() == together.keys()
    for key in alone:
        for one, two in zip(alone[key], together[key], strict=True):
            # The losses agree up to the order in which float32 sums are taken, which training amplifies.
            assert two["loss"] == pytest.approx(one["loss"], rel=5e-3)
            assert two["epoch"] == one["epoch"]
    # The steps of the first epoch begin at the same weights, so there the agreement is closer.
    assert all(together[key][0]["loss"] == pytest.approx(alone[key][0]["loss"], rel=5e-4) for key in alone)
    # Every epoch reached the tracker, once.
    tracked = output.tracked("smoke/lambda2")
    assert set(tracked.states.values()) == {"FINISHED"}
    assert tracked.steps("λ₂=1 seed=0", "loss") == [1, 2]
    # Ray Train reserves in placement groups; none of them is left, or the next trial would wait forever.
    assert {group["state"] for group in ray.util.placement_group_table().values()} == {"REMOVED"}


def test_one_worker_of_ray_train_is_bit_identical(
    smoke: "Output", reference: "Output", one_trial: list[str], run_study: Study, tmp_path: Path
) -> None:
    import torch

    output = smoke.copy(tmp_path / "output", without="defend")
    assert run_study(output, *one_trial, "training.launch=train") == 0
    expected, found = reference.weights("defend"), output.weights("defend")
    # The loop does not know how it was launched.
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert expected.keys() == found.keys()


def test_workers_that_would_fail_again_are_not_started_again(
    smoke: "Output", one_trial: list[str], run_study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = smoke.copy(tmp_path / "output", without="defend")
    words = [*one_trial, "training.num_workers=2", "defense.recipe.learning_rate=1e30"]
    assert run_study(output, *words) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "FAILED" in line]
    # The loss's own words, not those of Ray Train.
    assert "finite" in line
    assert "Ray Train" not in line
    # Ray Train has a folder for each start.
    assert len(list((output.folder / "cache" / "ray-train").glob("defend-*"))) == 1
