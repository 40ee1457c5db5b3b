"""The smallest studies, end to end."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Driver, Output

Study = Callable[..., int]
pytestmark = pytest.mark.slow


@pytest.fixture
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a cluster fails."""
    from bdray.study import cluster

    def refuse(*_: object) -> None:
        raise AssertionError("a cluster was asked for")

    monkeypatch.setattr(cluster, "cluster", refuse)


def test_a_victim_trains_once_for_all_trials(smoke: "Output") -> None:
    # One base, one victim, two defenses; all are evaluated under the trigger, the base for what it does unpoisoned.
    assert {stage: len(smoke.manifests(stage)) for stage in ("pretrain", "victim", "defend", "evaluate")} == {
        "pretrain": 1,
        "victim": 1,
        "defend": 2,
        "evaluate": 4,
    }
    # Nothing is left unfinished.
    assert smoke.checkpoints() == []


def test_results_report_and_tracker_agree(smoke: "Output") -> None:
    rows = smoke.rows("smoke/lambda2")
    assert [(row["role"], row["defense.in_modal_weight"]) for row in rows] == [
        ("victim", ""),
        ("trial", "0"),
        ("trial", "1"),
    ]
    files = {path.name for path in smoke.report("smoke/lambda2").iterdir()}
    # The table, figures and the page are there.
    assert {"report.html", "table.csv", "figure.png", "learning_curves.png", "study.json"} <= files
    tracked = smoke.tracked("smoke/lambda2")
    # One run each for the study, base, victim and trials, all finished.
    assert tracked.states == dict.fromkeys(
        ["smoke/lambda2", "base", "victim seed=0", "λ₂=0 seed=0", "λ₂=1 seed=0"], "FINISHED"
    )
    # Trials are under the study; what other studies may share is not.
    parent = tracked.runs["smoke/lambda2"].info.run_id
    nested = {name for name, run in tracked.runs.items() if run.data.tags.get("mlflow.parentRunId") == parent}
    assert nested == {"λ₂=0 seed=0", "λ₂=1 seed=0"}
    for row in rows:
        name = f"λ₂={row['defense.in_modal_weight']} seed=0" if row["role"] == "trial" else "victim seed=0"
        # The report's numbers are MLflow's, to the last digit, and each epoch is there once.
        assert tracked.runs[name].data.metrics["test/clean_accuracy_top1"] == float(row["clean_accuracy_top1"])
        assert tracked.steps(name, "loss") == ([1, 2] if row["role"] == "trial" else [1])
    # The study's run has the report.
    artifacts = {item.path for item in tracked.client.list_artifacts(parent, "report")}
    assert "report/report.html" in artifacts


@pytest.mark.usefixtures("_no_ray")
def test_a_rerun_trains_nothing(smoke: "Output", run_study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    folder = smoke.report("smoke/lambda2")
    names = ("results.csv", "history.csv", "study.json", "table.csv")
    before = smoke.manifests(), {name: (folder / name).read_text() for name in names}
    steps = {name: smoke.tracked("smoke/lambda2").steps(name, "loss") for name in ("base", "λ₂=1 seed=0")}
    assert run_study(smoke, "smoke/lambda2") == 0
    # No stage was computed, no Ray was started, and the files say the same.
    assert "nothing to compute" in " ".join(capsys.readouterr().out.split())
    assert (smoke.manifests(), {name: (folder / name).read_text() for name in names}) == before
    # No run and no point is there twice.
    tracked = smoke.tracked("smoke/lambda2")
    assert set(tracked.states.values()) == {"FINISHED"}
    assert {name: tracked.steps(name, "loss") for name in steps} == steps
    assert tracked.steps("λ₂=1 seed=0", "test/clean_accuracy_top1") == [2]


def test_another_value_trains_only_itself(smoke: "Output", run_study: Study, tmp_path: Path) -> None:
    output = smoke.copy(tmp_path / "output")
    before = output.manifests()
    assert run_study(output, "smoke/lambda2", "axes={defense.in_modal_weight: {values: [1, 2]}}", "compare=[]") == 0
    new = output.manifests().keys() - before.keys()
    # Victim and λ₂ = 1 are shared with the study as it is in its file; nothing old was touched.
    assert sorted(name.partition("/")[0] for name in new) == ["defend", "evaluate"]
    assert {name: time for name, time in output.manifests().items() if name in before} == before


def test_a_failing_trial_does_not_stop_the_study(
    smoke: "Output", run_study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = smoke.copy(tmp_path / "output", without="defend")
    axes = "axes={defense.in_modal_weight: {values: [1]}, defense.recipe.learning_rate: {values: [1.5e-3, 1e+9]}}"
    words = ["smoke/lambda2", axes, "compare=[]", "published=[]", "defense.recipe.warmup_steps=0"]
    # The status says that something is missing.
    assert run_study(output, *words) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "FAILED: the loss is not finite in epoch" in shown
    assert "1 stage failed; see above and the report. Running again retries them." in shown
    tracked = output.tracked("smoke/lambda2")
    failed = tracked.runs["λ₂=1 learning_rate=1e+09 seed=0"]
    # Its run says why; the other trial has its numbers; so has the report.
    assert failed.info.status == "FAILED"
    assert "the loss is not finite" in failed.data.tags["bdray.reason"]
    assert tracked.states["λ₂=1 learning_rate=0.0015 seed=0"] == "FINISHED"
    assert tracked.states["smoke/lambda2"] == "FAILED"
    assert [row["defense.recipe.learning_rate"] for row in output.rows("smoke/lambda2")] == ["", "0.0015"]
    assert "the loss is not finite" in (output.report("smoke/lambda2") / "report.html").read_text()
    # Running again retries it, and only it.
    before = output.manifests()
    assert run_study(output, *words) == 1
    assert "4 stages, 3 in the store, 1 to compute" in " ".join(capsys.readouterr().out.split())
    assert output.manifests() == before


def test_a_search_runs_and_is_not_run_again(
    smoke: "Output", run_study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = smoke.copy(tmp_path / "output", without="defend")
    assert run_study(output, "smoke/search") == 0
    rows = [row for row in output.rows("smoke/search") if row["role"] == "trial"]
    # As many different points as were asked for, within the ranges.
    assert len({row["key"] for row in rows}) == len(rows) == 4
    assert all(0.1 <= float(row["defense.in_modal_weight"]) <= 8 for row in rows)
    before = output.manifests()
    capsys.readouterr()
    assert run_study(output, "smoke/search") == 0
    # The second time the journal and the store know everything.
    assert output.manifests() == before
    assert "started" not in capsys.readouterr().out
    assert len([row for row in output.rows("smoke/search") if row["role"] == "trial"]) == 4
    assert len(output.tracked("smoke/search").runs) == 1 + 1 + 1 + 4


def test_a_relative_store_is_the_drivers(smoke: "Output", run_study: Study, tmp_path: Path) -> None:
    # The session's Ray was started in another folder; its workers find the store all the same.
    output = smoke.copy(tmp_path / "output", without="defend")
    output.store.rename(tmp_path / "elsewhere")
    relative = os.path.relpath(tmp_path / "elsewhere", Path(__file__).parents[2])
    assert run_study(output, "smoke/lambda2", "--store", relative) == 0
    assert not output.store.exists()


def test_a_cluster_that_runs_already(
    smoke: "Output", driver: Callable[..., "Driver"], tmp_path: Path, our_ray: None
) -> None:
    import ray

    output = smoke.copy(tmp_path / "output", without="defend")
    address = ray.get_runtime_context().gcs_address
    running = driver(output, "smoke/lambda2", "--address", address)
    assert running.wait() == 0, running.errors
    # The same results by somebody else's Ray, which is still there afterwards.
    columns = ("role", "key", "clean_accuracy_top1", "attack_success_rate_top1", "embedding_distance")
    rows, expected = (
        [[row[name] for name in columns] for row in each.rows("smoke/lambda2")] for each in (output, smoke)
    )
    assert rows == expected
    assert output.manifests().keys() == smoke.manifests().keys()
    assert ray.cluster_resources()["CPU"] == 3
