"""Whatever is killed, the same command goes on where it was, and comes to the same model, bit by bit."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Driver, Output

Start = Callable[..., "Driver"]
pytestmark = pytest.mark.slow


def assert_as_uninterrupted(output: "Output", reference: "Output") -> None:
    """What must hold however often a study was killed."""
    import torch

    expected, found = reference.weights("defend"), output.weights("defend")
    # The weights are those of a training that nobody interrupted.
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    histories = [each.manifest("defend")["history"] for each in (reference, output)]
    # So is the history: all epochs, those before the kill included.
    assert [[epoch["epoch"] for epoch in history] for history in histories] == [list(range(1, 13))] * 2
    assert [epoch["loss"] for epoch in histories[0]] == [epoch["loss"] for epoch in histories[1]]
    # Nothing is left unfinished, and the report has the one trial and its victim.
    assert output.checkpoints() == []
    assert [row["role"] for row in output.rows("smoke/lambda2")] == ["victim", "trial"]
    tracked = output.tracked("smoke/lambda2")
    # MLflow has each run once, closed, and each epoch once.
    assert tracked.states == dict.fromkeys(["smoke/lambda2", "base", "victim seed=0", "λ₂=1 seed=0"], "FINISHED")
    assert tracked.steps("λ₂=1 seed=0", "loss") == list(range(1, 13))
    assert tracked.steps("λ₂=1 seed=0", "test/clean_accuracy_top1") == [12]


def test_the_worker_is_killed(reference: "Output", one_trial: list[str], driver: Start, tmp_path: Path) -> None:
    output = reference.copy(tmp_path / "output", without="defend")
    running = driver(output, *one_trial, "cpus=1")
    running.until(lambda: output.checkpoints("defend"))
    os.kill(running.trial_process(), signal.SIGKILL)
    # The running study helps itself.
    assert running.wait() == 0, running.errors
    assert_as_uninterrupted(output, reference)
    log = running.log.read_text()
    # It went on after the epochs of the checkpoint, not from the start; the first epoch's own line is lost if the
    # process died between its checkpoint and its report.
    assert log.count("epoch 1/12") <= 1
    assert log.count("epoch 12/12") == 1


def test_the_driver_is_killed(reference: "Output", one_trial: list[str], driver: Start, tmp_path: Path) -> None:
    output = reference.copy(tmp_path / "output", without="defend")
    killed = driver(output, *one_trial, "cpus=1")
    killed.until(lambda: output.checkpoints("defend"))
    killed.descendants()
    killed.process.kill()
    killed.process.wait()
    # At once, while the old workers may still be dying.
    again = driver(output, *one_trial, "cpus=1")
    assert again.wait() == 0, again.errors
    assert_as_uninterrupted(output, reference)
    # Nothing of the first driver survives, for nobody will end it.
    assert killed.left_over() == []
    log = again.log.read_text()
    assert "3 stages, 2 in the store, 1 to compute" in log
    assert "epoch 1/12" not in log


def test_everything_is_killed_in_the_base(
    smoke: "Output", driver: Start, run_study: Callable[..., int], tmp_path: Path
) -> None:
    import torch

    output = type(smoke)(tmp_path / "output")
    words = ["smoke/lambda2", "cpus=1", "pretrain.recipe.epochs=5"]
    killed = driver(output, *words)
    killed.until(lambda: output.checkpoints("pretrain"))
    for pid in killed.descendants():
        os.kill(pid, signal.SIGKILL)
    killed.process.kill()
    killed.process.wait()
    again = driver(output, *words)
    assert again.wait() == 0, again.errors
    uninterrupted = type(smoke)(tmp_path / "uninterrupted")
    assert run_study(uninterrupted, *words) == 0
    # From the base on everything is as it would have been.
    assert output.manifests().keys() == uninterrupted.manifests().keys()
    for stage in ("pretrain", "victim"):
        expected, found = uninterrupted.weights(stage), output.weights(stage)
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert output.tracked("smoke/lambda2").steps("base", "loss") == [1, 2, 3, 4, 5]


def test_a_worker_that_dies_too_often_fails_its_trial(
    reference: "Output", one_trial: list[str], driver: Start, tmp_path: Path
) -> None:
    output = reference.copy(tmp_path / "output", without="defend")
    running = driver(output, *one_trial, "cpus=1", "training.max_retries=0")
    running.until(lambda: output.checkpoints("defend"))
    os.kill(running.trial_process(), signal.SIGKILL)
    # The study ends, says what happened and that something is missing.
    assert running.wait() == 1, running.errors
    assert "λ₂=1 seed=0: FAILED: its process died 1 times. Is there enough memory?" in running.log.read_text()
    assert output.tracked("smoke/lambda2").states["λ₂=1 seed=0"] == "FAILED"
    # Its checkpoint is kept for the next run.
    assert output.checkpoints("defend")


@pytest.mark.soak
def test_one_of_two_train_workers_is_killed(
    smoke: "Output", driver: Start, run_study: Callable[..., int], tmp_path: Path
) -> None:
    import torch

    words = ["smoke/lambda2", "axes={defense.in_modal_weight: {values: [1]}}", "training.num_workers=2"]
    words.append("defense.recipe.epochs=12")
    output = smoke.copy(tmp_path / "output", without="defend")
    running = driver(output, *words)
    running.until(lambda: output.checkpoints("defend"))
    workers = [pid for pid, command in running.descendants().items() if command.startswith("ray::RayTrainWorker")]
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    # Ray Train starts both again, and they go on from the checkpoint.
    assert running.wait() == 0, running.errors
    uninterrupted = smoke.copy(tmp_path / "uninterrupted", without="defend")
    assert run_study(uninterrupted, *words) == 0
    expected, found = uninterrupted.weights("defend"), output.weights("defend")
    # Bit by bit here, too: the order of sums over two workers is fixed.
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert output.tracked("smoke/lambda2").steps("λ₂=1 seed=0", "loss") == list(range(1, 13))


@pytest.mark.parametrize("whole_group", [True, False], ids=["as a terminal does", "driver only"])
def test_ctrl_c(reference: "Output", one_trial: list[str], driver: Start, tmp_path: Path, whole_group: bool) -> None:
    output = reference.copy(tmp_path / "output", without="defend")
    stopped = driver(output, *one_trial, "cpus=1")
    stopped.until(lambda: output.checkpoints("defend"))
    stopped.descendants()
    if whole_group:
        os.killpg(stopped.process.pid, signal.SIGINT)
    else:
        stopped.process.send_signal(signal.SIGINT)
    # One line, the usual status, and Ray is gone.
    assert stopped.wait() == 130
    assert [line for line in stopped.errors.splitlines() if line] == [
        "Interrupted. Run the same command again: it goes on from the last finished epochs."
    ]
    assert stopped.left_over() == []
    # MLflow's users see what happened.
    states = output.tracked("smoke/lambda2").states
    assert (states["smoke/lambda2"], states["λ₂=1 seed=0"]) == ("KILLED", "KILLED")
    if not whole_group:
        return
    again = driver(output, *one_trial, "cpus=1")
    assert again.wait() == 0, again.errors
    assert_as_uninterrupted(output, reference)


def test_a_search_is_killed(smoke: "Output", driver: Start, tmp_path: Path) -> None:
    output = smoke.copy(tmp_path / "output", without="defend")
    words = ["smoke/search", "defense.recipe.epochs=6"]
    for _ in range(2):
        finished = len(output.manifests("defend"))
        killed = driver(output, *words)

        def is_in_the_middle(finished: int = finished) -> bool:
            """Of a point, when another one is finished."""
            return len(output.manifests("defend")) > finished and bool(output.checkpoints("defend"))

        killed.until(is_in_the_middle)
        killed.process.kill()
        killed.process.wait()
    last = driver(output, *words)
    assert last.wait() == 0, last.errors
    rows = [row for row in output.rows("smoke/search") if row["role"] == "trial"]
    # As many points as were asked for, all different, none of them trained in vain.
    assert len({(row["defense.in_modal_weight"], row["defense.recipe.learning_rate"]) for row in rows}) == 4
    assert len(rows) == len(output.manifests("defend")) == 4
    assert output.checkpoints() == []
    tracked = output.tracked("smoke/search")
    # One run for each in MLflow, each epoch once.
    assert set(tracked.states.values()) == {"FINISHED"}
    trials = [name for name in tracked.runs if name.startswith("λ₂")]
    assert len(trials) == 4
    assert all(tracked.steps(name, "loss") == [1, 2, 3, 4, 5, 6] for name in trials)
    study = json.loads((output.report("smoke/search") / "study.json").read_text())
    assert study["failures"] == []


def test_two_drivers_of_one_study_do_not_disturb_each_other(smoke: "Output", driver: Start, tmp_path: Path) -> None:
    output = smoke.copy(tmp_path / "output", without="defend")
    words = ["smoke/search", "defense.recipe.epochs=6", "search.num_points=2"]
    first = driver(output, *words)
    first.until(lambda: output.checkpoints("defend"))
    log = first.log.read_text()
    second = driver(type(output)(tmp_path / "second"), *words, f"output={output.folder}")
    # The second is told; the first goes on and loses nothing.
    assert second.wait() == 2
    assert "another process uses this spool" in second.errors
    assert first.wait() == 0, log + first.errors
    assert len(output.manifests("defend")) == 2
