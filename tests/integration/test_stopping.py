"""Points of a search that are stopped early, with real workers, and with drivers that are killed."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Driver, Output, Tracked

Start = Callable[..., "Driver"]
pytestmark = pytest.mark.slow

STOPPING = "search.stopping={type: halving, metric: loss, goal: min, reduction_factor: 2}"
"""The loss grows with λ₂, so that something is stopped whatever else happens."""
LAMBDA = "defense.in_modal_weight"


def trial_rows(output: "Output") -> dict[str, list[dict[str, str]]]:
    """Rows of trials by status."""
    rows = [row for row in output.rows("smoke/search") if row["role"] == "trial"]
    return {status: [row for row in rows if row["status"] == status] for status in ("done", "pruned")}


def started(log: str) -> list[str]:
    return re.findall(r"\] (λ₂=\S+ learning rate=\S+ seed=0): started", log)


def epochs(log: str, trial: str) -> list[int]:
    return [int(number) for number in re.findall(rf"\] {re.escape(trial)}: epoch (\d+)/", log)]


def pruned_runs(tracked: "Tracked") -> set[str]:
    return {name for name, run in tracked.runs.items() if run.data.tags.get("pruned") == "true"}


@pytest.mark.soak
def test_a_search_with_stopping_is_killed(smoke: "Output", driver: Start, tmp_path: Path) -> None:
    output = smoke.copy(tmp_path / "output", without="defend")
    words = ["smoke/search", "defense.recipe.epochs=6", "search.num_points=7", STOPPING, "cpus=1"]
    logs: list[str] = []

    def has_pruned(number: int) -> bool:
        found = [*(output.folder / "studies").rglob("results.csv")]
        return bool(found) and found[0].read_text().count(",pruned,") >= number

    for pruned in (1, 2):
        killed = driver(output, *words)
        # After a point was pruned, in the middle of another one.
        killed.until(partial(has_pruned, pruned))
        killed.process.kill()
        killed.process.wait()
        logs.append(killed.log.read_text())
    last = driver(output, *words)
    assert last.wait() == 0, last.errors
    logs.append(last.log.read_text())
    rows = trial_rows(output)
    # Seven points, all different; those that were pruned are in the results, with their epochs, and not in the store.
    points = {(row[LAMBDA], row["defense.recipe.learning_rate"]) for found in rows.values() for row in found}
    assert len(points) == len(rows["done"]) + len(rows["pruned"]) == 7
    assert len(rows["pruned"]) >= 2
    assert len(output.manifests("defend")) == len(rows["done"])
    assert sorted(int(row["number"]) for found in rows.values() for row in found) == list(range(7))
    history = (output.report("smoke/search") / "history.csv").read_text().splitlines()
    for row in rows["pruned"]:
        assert 1 <= sum(row["key"] in line for line in history) < 6
    # Over all three runs no epoch was trained twice, except one whose checkpoint was not written when the kill came,
    # and no point that was pruned was begun again.
    for name in {name for log in logs for name in started(log)}:
        seen = [number for log in logs for number in epochs(log, name)]
        assert len(seen) - len(set(seen)) <= 1
    for index, log in enumerate(logs[:-1]):
        for name in re.findall(r"\] (.*): pruned after epoch", log):
            assert not any(name in started(later) for later in logs[index + 1 :])
    tracked = output.tracked("smoke/search")
    # In MLflow each point is one run, and the pruned ones can be told from the finished.
    names = [name for name in tracked.runs if name.startswith("λ₂")]
    assert len(names) == 7
    assert pruned_runs(tracked) == {name for name in names if tracked.states[name] == "KILLED"}
    assert len(pruned_runs(tracked)) == len(rows["pruned"])
    for name in names:
        assert tracked.steps(name, "loss") == list(range(1, len(tracked.steps(name, "loss")) + 1))
    study = json.loads((output.report("smoke/search") / "study.json").read_text())
    assert study["failures"] == []
    assert study["search"]["stopping"].startswith("loss: unless among the best 1/2")


def test_all_workers_of_a_trial_stop_together(smoke: "Output", run_study: Callable[..., int], tmp_path: Path) -> None:
    import ray.util

    output = smoke.copy(tmp_path / "output", without="defend")
    start = (
        "search.start=[{defense.in_modal_weight: 0.1, defense.recipe.learning_rate: 3e-3},"
        "{defense.in_modal_weight: 8, defense.recipe.learning_rate: 1e-4}]"
    )
    words = ["defense.recipe.epochs=4", "search.num_points=2", start, STOPPING, "cpus=2"]
    # One trial at a time, so that the first point is the one that the second is compared with.
    assert run_study(output, "smoke/search", *words, "training={num_workers: 2}") == 0
    (done,), (pruned,) = trial_rows(output).values()
    # The second point is worse from the first epoch on: it left after that, not after one more.
    assert (done[LAMBDA], pruned[LAMBDA]) == ("0.1", "8.0")
    history = (output.report("smoke/search") / "history.csv").read_text().splitlines()
    assert sum(pruned["key"] in line for line in history) == 1
    assert output.tracked("smoke/search").steps("λ₂=8 learning rate=0.0001 seed=0", "loss") == [1]
    # It was no failure to Ray Train, so nothing was started again, and nothing stays reserved.
    assert {group["state"] for group in ray.util.placement_group_table().values()} <= {"REMOVED"}
    # Its checkpoint stays, should a point ever need it.
    assert len(output.checkpoints("defend")) == 1
