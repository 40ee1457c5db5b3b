"""The tracker, against a real SQLite database and a real MLflow server."""

import contextlib
import itertools
import json
import math
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bdray.exceptions import TrackingError
from bdray.tracking import DataInput, Tracker, View, redact
from bdray.tracking.spool import Record
from bdray.tracking.writer import Writer

if TYPE_CHECKING:  # the tracker imports MLflow, after it turned telemetry off
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run


@pytest.fixture
def study(request: pytest.FixtureRequest) -> str:
    """A study's name that no other test uses."""
    return f"tests/{request.node.name}"


@pytest.fixture
def tracker(database: Path, tmp_path: Path) -> Iterator[Tracker]:
    with Tracker(str(database), tmp_path / "spool") as opened:
        yield opened


class Store:
    """What a study looks like in MLflow."""

    def __init__(self, uri: str, study: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)
        experiment = self.client.get_experiment_by_name(study)
        assert experiment is not None
        self.experiment_id = experiment.experiment_id

    def runs(self) -> dict[str, "Run"]:
        """Runs by name; a name that occurs twice fails the test."""
        found = self.client.search_runs([self.experiment_id])
        by_name = {run.info.run_name: run for run in found}
        assert len(by_name) == len(found)
        return by_name

    def check_pages(self, study: str) -> None:
        """What the experiment's page shows, and that the links of the descriptions lead there."""
        tags = self.client.get_experiment(self.experiment_id).tags
        run = self.runs()[study]
        assert tags[f"mlflow.sharedViewState.{VIEW.key}"] == VIEW.tag[1]
        assert tags["mlflow.note.content"] == run.data.tags["mlflow.note.content"]
        links = re.findall(r"\]\((#/.*?)\)", tags["mlflow.note.content"])
        query = f"workflowType=machine_learning&viewStateShareKey={VIEW.key}"
        assert links[0] == f"#/experiments/{self.experiment_id}/runs?{query}"
        assert links[-1].startswith(f"#/experiments/{self.experiment_id}/runs/{run.info.run_id}/artifacts/report/")

    def inputs(self, run: str) -> "list[DatasetInput]":
        """In the order in which they were logged."""
        found = self.runs()[run].inputs
        return found.dataset_inputs if found else []

    def points(self, run: str, metric: str) -> list[tuple[int, float]]:
        """Steps and values in the order in which they were logged."""
        history = self.client.get_metric_history(self.runs()[run].info.run_id, metric)
        return [(point.step, point.value) for point in sorted(history, key=lambda point: point.timestamp)]


VIEW = View(knobs=("λ₂",), metrics=("ASR", "CA"))
INPUTS = (
    DataInput("scenes train, 100 poisoned", "abc", "training", {"split": "train"}, {"num_rows": 5000}),
    DataInput("scenes test", "def", "evaluation", {"split": "test"}, {"num_rows": 1600}),
)


def begin(tracker: Tracker, study: str, **params: Any) -> None:
    tracker.start_study(
        study,
        f"{study}-id",
        params={"epochs": 3},
        tags={"figure": "4"},
        description="What it asks.",
        view=VIEW,
        report="report/report.html",
    )
    knobs = {"in_modal_weight": 1e-3, **params}
    tracker.start_run("k1", "trial 1", params=knobs, tags={"attack": "patch"}, inputs=INPUTS)


def test_a_study_is_an_experiment_with_nested_trials_and_victims_of_their_own(
    tracker: Tracker, database: Path, study: str, tmp_path: Path
) -> None:
    begin(tracker, study)
    tracker.start_run("k2", "trial 2", params={}, tags={})
    tracker.start_run("v1", "victim 1", params={}, tags={}, nested=False)
    for epoch in (1, 2):
        tracker.log("k1", epoch, {"loss": 1 / epoch, "clean_accuracy": 0.1 * epoch})
        tracker.log("k2", epoch, {"loss": 2 / epoch})
    figure = tmp_path / "figure.txt"
    figure.write_text("pixels")
    tracker.log_files(None, [figure], "figures")
    tracker.log_files("k1", [figure])
    tracker.finish("k1", status="FINISHED", metrics={"clean_accuracy": 0.2, "attack_success_rate": 0.01})
    tracker.finish("k2", status="FAILED", reason="loss is NaN")
    tracker.finish_study(status="FINISHED")

    store = Store(f"sqlite:///{database}", study)
    runs = store.runs()
    parent = runs[study]
    # The study's run carries what was given, and says what it is for.
    assert parent.data.params == {"epochs": "3"}
    assert parent.data.tags["bdray.study_id"] == f"{study}-id"
    assert parent.data.tags["mlflow.note.content"].endswith("What it asks.")
    # Trials lie under the study's run; a victim, which others may share, does not.
    parents = {name: run.data.tags.get("mlflow.parentRunId") for name, run in runs.items() if run is not parent}
    assert parents == {"trial 1": parent.info.run_id, "trial 2": parent.info.run_id, "victim 1": None}
    # Each key has its own points, with the epoch as step; a final value that is there already is not repeated.
    assert store.points("trial 1", "loss") == [(1, 1.0), (2, 0.5)]
    assert store.points("trial 2", "loss") == [(1, 2.0), (2, 1.0)]
    assert store.points("trial 1", "clean_accuracy") == [(1, 0.1), (2, 0.2)]
    assert store.points("trial 1", "attack_success_rate") == [(2, 0.01)]
    # Status and reason arrive.
    statuses = {name: run.info.status for name, run in runs.items()}
    assert statuses == {study: "FINISHED", "trial 1": "FINISHED", "trial 2": "FAILED", "victim 1": "RUNNING"}
    assert runs["trial 2"].data.tags["bdray.reason"] == "loss is NaN"
    # Files lie beside the database.
    files = {
        path.relative_to(database.parent / "mlflow-artifacts").parts[2:] for path in database.parent.rglob("figure.txt")
    }
    assert files == {("figures", "figure.txt"), ("figure.txt",)}
    # Links point at the run; nothing waits and nothing was refused.
    page = f"http://127.0.0.1:5000/#/experiments/{store.experiment_id}/runs"
    assert tracker.run_url("k1") == f"{page}/{runs['trial 1'].info.run_id}?workflowType=machine_learning"
    assert (tracker.pending, tracker.refused) == (0, 0)


def test_reopening_repeats_nothing(database: Path, study: str, tmp_path: Path) -> None:
    for last in (2, 2, 4):
        with Tracker(str(database), tmp_path / "spool") as tracker:
            begin(tracker, study, late=last)
            for epoch in range(1, last + 1):
                tracker.log("k1", epoch, {"loss": 1 / epoch})
            tracker.finish("k1", status="FINISHED", metrics={"attack_success_rate": 0.5})
            assert (tracker.pending, tracker.refused) == (0, 0)
    store = Store(f"sqlite:///{database}", study)
    # One run for each tag; each epoch once; the third time adds only what is new.
    assert set(store.runs()) == {study, "trial 1"}
    assert store.points("trial 1", "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]
    assert store.points("trial 1", "attack_success_rate") == [(2, 0.5)]
    # Parameters stay as they were first: MLflow refuses to change them.
    assert store.runs()["trial 1"].data.params["late"] == "2"


def test_a_finished_trial_is_left_alone_and_a_failed_one_runs_again(
    tracker: Tracker, database: Path, study: str
) -> None:
    begin(tracker, study)
    store = Store(f"sqlite:///{database}", study)
    tracker.finish("k1", status="FAILED", reason="worker lost")
    begin(tracker, study)
    # A retry of a failed trial is the same run.
    assert store.runs()["trial 1"].info.status == "RUNNING"
    tracker.finish("k1", status="FINISHED")
    finished = store.runs()["trial 1"]
    # The reason of the failure does not outlive it.
    assert "bdray.reason" not in finished.data.tags
    time.sleep(0.01)
    begin(tracker, study)
    tracker.finish("k1", status="FINISHED")
    # Running a finished trial again does not touch it.
    assert store.runs()["trial 1"].to_dictionary() == finished.to_dictionary()


def test_a_trial_key_means_another_run_in_another_study_but_a_victim_is_shared(
    database: Path, study: str, tmp_path: Path
) -> None:
    for study_id in ("one", "two"):
        with Tracker(str(database), tmp_path / "spool") as tracker:
            tracker.start_study(study, study_id, params={}, tags={}, description="")
            tracker.start_run("k1", f"trial of {study_id}", params={}, tags={})
            tracker.start_run("v1", f"victim of {study_id}", params={}, tags={}, nested=False)
    store = Store(f"sqlite:///{database}", study)
    names = sorted(run.info.run_name for run in store.client.search_runs([store.experiment_id]))
    # Two studies, a trial of each, and one victim.
    assert names == [study, study, "trial of one", "trial of two", "victim of one"]


def test_values_that_are_not_finite_become_tags(tracker: Tracker, database: Path, study: str) -> None:
    begin(tracker, study)
    tracker.log("k1", 1, {"loss": 0.5, "grad norm": 1.0})
    tracker.log("k1", 2, {"loss": float("nan"), "grad norm": float("inf")})
    tracker.finish("k1", status="FAILED", metrics={"clean_accuracy": float("nan")})
    store = Store(f"sqlite:///{database}", study)
    tags = store.runs()["trial 1"].data.tags
    # They are not points, but one can see that they were, and when.
    assert store.points("trial 1", "loss") == [(1, 0.5)]
    assert tags["bdray.nonfinite.loss"] == "nan at epoch 2"
    assert tags["bdray.nonfinite.grad norm"] == "inf at epoch 2"
    assert tags["bdray.nonfinite.clean_accuracy"] == "nan at the end"
    # The epoch counts even so.
    assert store.points("trial 1", "epoch") == [(1, 1.0), (2, 2.0)]


def test_what_mlflow_would_refuse_is_made_to_fit(tracker: Tracker, database: Path, study: str) -> None:
    many = {f"knob {index}": index for index in range(150)}
    begin(tracker, study, captions="c" * 10_000, **many)
    tracker.log("k1", 1, {"recall@1 (%)": 0.5} | {f"m{index}": 0.0 for index in range(1200)})
    store = Store(f"sqlite:///{database}", study)
    data = store.runs()["trial 1"].data
    # More than 100 parameters or 1000 metrics are split.
    assert len(data.params) == 152
    assert len(data.metrics) == 1202
    # A long value is cut where one sees it.
    assert len(data.params["captions"]) == 6000
    assert data.params["captions"].endswith("... (cut, 10000 characters)")
    # Signs that MLflow does not allow in a name are replaced.
    assert store.points("trial 1", "recall_1 ___") == [(1, 0.5)]
    assert tracker.refused == 0


def test_secrets_reach_neither_mlflow_nor_the_spool(tracker: Tracker, database: Path, study: str) -> None:
    secret = "postgresql://me:hunter2@db.example/mlflow"
    tracker._next_attempt = float("inf")  # as if MLflow were away
    begin(tracker, study, store=secret)
    tracker.finish("k1", status="FAILED", reason=f"cannot open {secret}!")
    # Nothing that is written to disk holds the password.
    spooled = tracker._spool._path.read_text()
    assert "db.example" in spooled
    assert "hunter2" not in spooled
    # Only the user part of a URL goes, also if the password holds an @.
    assert redact(secret) == "postgresql://***@db.example/mlflow"
    assert redact("see http://a:b@c@host/x@y, you@host") == "see http://***@host/x@y, you@host"
    tracker._spool.waiting.clear()
    tracker._spool.save()


def gone() -> Exception:
    """What MLflow raises while its database cannot be reached."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

    return MlflowException("gone", TEMPORARILY_UNAVAILABLE)


class Killed(BaseException):
    """Stands for kill -9."""


class FaultyClient:
    """A client whose n-th call fails, before it reached MLflow or after MLflow carried it out."""

    def __init__(self, client: "MlflowClient", call: int, carried_out: bool, error: BaseException) -> None:
        self.client, self.calls_left, self.carried_out, self.error = client, call, carried_out, error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            self.calls_left -= 1
            if self.calls_left == 0 and not self.carried_out:
                raise self.error
            result = getattr(self.client, name)(*args, **kwargs)
            if self.calls_left == 0:
                raise self.error
            return result

        return called


def run_study(tracker: Tracker, study: str) -> None:
    """A trial that fails, is tried again and succeeds."""
    begin(tracker, study)
    tracker.log("k1", 1, {"loss": 1.0, "clean_accuracy": 0.1})
    tracker.log("k1", 2, {"loss": 0.5, "clean_accuracy": 0.2})
    tracker.finish("k1", status="FAILED", metrics={"clean_accuracy": 0.25}, reason="worker lost")
    tracker.start_run("k1", "trial 1", params={"in_modal_weight": 1e-3}, tags={"attack": "patch"})
    tracker.log("k1", 2, {"loss": 0.5, "clean_accuracy": 0.2})
    tracker.log("k1", 3, {"loss": 0.25, "clean_accuracy": 0.3})
    tracker.finish("k1", status="FINISHED", metrics={"clean_accuracy": 0.3})
    tracker.finish_study(status="FINISHED")


def check_study(uri: str, study: str) -> None:
    store = Store(uri, study)
    runs = store.runs()
    assert {name: run.info.status for name, run in runs.items()} == {study: "FINISHED", "trial 1": "FINISHED"}
    assert runs["trial 1"].data.params == {"in_modal_weight": "0.001"}
    assert runs["trial 1"].data.tags["mlflow.parentRunId"] == runs[study].info.run_id
    assert store.points("trial 1", "loss") == [(1, 1.0), (2, 0.5), (3, 0.25)]
    assert store.points("trial 1", "epoch") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert store.points("trial 1", "clean_accuracy") == [(1, 0.1), (2, 0.2), (2, 0.25), (3, 0.3)]
    assert "bdray.reason" not in runs["trial 1"].data.tags
    assert [item.dataset.digest for item in store.inputs("trial 1")] == ["abc", "def"]
    store.check_pages(study)


@pytest.mark.slow
@pytest.mark.parametrize("carried_out", [False, True])
def test_a_connection_lost_at_any_call_changes_nothing(
    database: Path, study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, carried_out: bool
) -> None:
    monkeypatch.setattr("bdray.tracking.tracker.LONGEST_WAIT", 0.0)
    for call in itertools.count(1):
        with Tracker(str(database), tmp_path / "spool") as tracker:
            faulty: Any = FaultyClient(tracker._writer._client, call, carried_out, gone())
            tracker._writer._client = faulty
            run_study(tracker, f"{study} {call}")
        # Whatever call was lost, and whether or not MLflow had carried it out: each thing is there once, in order.
        check_study(f"sqlite:///{database}", f"{study} {call}")
        assert (tracker.pending, tracker.refused) == (0, 0)
        if faulty.calls_left > 0:
            break


@pytest.mark.slow
@pytest.mark.parametrize("carried_out", [False, True])
@pytest.mark.parametrize("from_spool", [False, True])
def test_a_kill_at_any_call_changes_nothing(
    database: Path, study: str, tmp_path: Path, carried_out: bool, from_spool: bool
) -> None:
    for call in itertools.count(1):
        name = f"{study} {call}"
        with Tracker(str(database), tmp_path / "spool") as tracker:
            if from_spool:
                tracker._next_attempt = float("inf")
                run_study(tracker, name)
                tracker._next_attempt = 0.0
            faulty: Any = FaultyClient(tracker._writer._client, call, carried_out, Killed())
            tracker._writer._client, healthy = faulty, tracker._writer._client
            with contextlib.suppress(Killed):
                tracker._send(float("inf")) if from_spool else run_study(tracker, name)
            # What the process had in memory is lost; the spool file is as it was at that moment.
            tracker._spool.waiting.clear()
            tracker._writer._client = healthy
        with Tracker(str(database), tmp_path / "spool") as tracker:
            if not from_spool:
                run_study(tracker, name)
        # The next process makes it whole, and repeats nothing.
        check_study(f"sqlite:///{database}", name)
        assert tracker.pending == 0
        if faulty.calls_left > 0:
            break


def test_records_wait_for_the_next_process(database: Path, study: str, tmp_path: Path) -> None:
    with Tracker(str(database), tmp_path / "spool") as tracker:
        begin(tracker, study)
        broken: Any = FaultyClient(tracker._writer._client, 1, False, gone())
        tracker._writer._client = broken
        tracker.log("k1", 1, {"loss": 1.0})
        broken.calls_left = 1
        tracker._next_attempt = 0.0
        tracker.log("k1", 2, {"loss": 0.5})
        # The back-off keeps a dead server from slowing the study down: this call does not even try.
        calls_left = broken.calls_left
        tracker.log("k1", 3, {"loss": 0.25})
        assert broken.calls_left == calls_left
        # The user can be told.
        assert tracker.pending == 3
        broken.calls_left = 1
    with (tmp_path / "spool" / tracker._spool._path.name).open("a") as file:
        file.write('{"action": "log", "half a li')
    with Tracker(str(database), tmp_path / "spool") as tracker:
        assert tracker.pending == 0
    # All points arrive once and in order; half a line, left by a full disk, does no harm.
    assert Store(f"sqlite:///{database}", study).points("trial 1", "loss") == [(1, 1.0), (2, 0.5), (3, 0.25)]
    assert not list((tmp_path / "spool").glob("pending*"))


def test_what_mlflow_refuses_is_set_aside_and_does_not_stop_the_study(
    tracker: Tracker, database: Path, study: str, tmp_path: Path
) -> None:
    begin(tracker, study)
    tracker.start_run("k2", "trial 2", params={}, tags={})
    store = Store(f"sqlite:///{database}", study)
    store.client.delete_run(store.runs()["trial 1"].info.run_id)
    tracker.log("k1", 1, {"loss": 1.0})
    tracker.log_files("k2", [tmp_path / "missing.png"])
    tracker.log("k2", 1, {"loss": 2.0})
    # A run that somebody deleted, or a file that is gone, costs its own records only.
    assert (tracker.pending, tracker.refused) == (0, 2)
    assert store.points("trial 2", "loss") == [(1, 2.0)]
    # What was lost, and why, can be read.
    refused = [json.loads(line) for line in (tmp_path / "spool" / "refused.jsonl").read_text().splitlines()]
    assert [record["action"] for record in refused] == ["log", "file"]
    assert "missing.png" in refused[1]["reason"]


def test_a_storage_that_fails_costs_its_files_only(
    tracker: Tracker, database: Path, study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ClientError(Exception):
        """As botocore has one: no relative of MLflow's errors."""

    def upload(*_: Any) -> None:
        raise ClientError("AccessDenied when calling PutObject")

    begin(tracker, study)
    monkeypatch.setattr(tracker._writer._client, "log_artifact", upload)
    tracker.log_files("k1", [tmp_path])
    tracker.log("k1", 1, {"loss": 1.0})
    # The study goes on; its next run copies its files again.
    assert (tracker.pending, tracker.refused) == (0, 1)
    assert Store(f"sqlite:///{database}", study).points("trial 1", "loss") == [(1, 1.0)]
    assert "AccessDenied" in (tmp_path / "spool" / "refused.jsonl").read_text()


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_that_fails_at_one_record_gets_the_others_and_one_that_is_away_gets_all(
    database: Path, study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RetryError

    write = Writer.write

    def fail_at_epoch_1(writer: Writer, record: Record) -> None:
        if record["step"] == 1:  # test_connection.py shows that this is what MLflow raises
            raise MlflowException(f"ResponseError('too many {status} error responses')") from RetryError()
        write(writer, record)

    monkeypatch.setattr("bdray.tracking.tracker.LONGEST_WAIT", 0.0)
    monkeypatch.setattr("bdray.tracking.tracker.SERVER_ERRORS", 4)
    monkeypatch.setattr(Writer, "write", fail_at_epoch_1)
    with Tracker(str(database), tmp_path / "spool") as tracker:
        begin(tracker, study)
        tracker.log("k1", 1, {"loss": 1.0})
        tracker.log("k1", 2, {"loss": 0.5})
    assert (tracker.pending, tracker.refused) == (2, 0)
    with Tracker(str(database), tmp_path / "spool") as tracker:
        # The attempts of the first process count. HTTP 503 means that the server is away, however long.
        assert (tracker.pending, tracker.refused) == ((0, 1) if status == 500 else (2, 0))
    monkeypatch.undo()
    with Tracker(str(database), tmp_path / "spool") as tracker:
        assert tracker.pending == 0
    expected = [(2, 0.5)] if status == 500 else [(1, 1.0), (2, 0.5)]
    assert Store(f"sqlite:///{database}", study).points("trial 1", "loss") == expected


def test_a_run_has_its_inputs_once_however_often_it_is_started(
    tracker: Tracker, database: Path, study: str, tmp_path: Path
) -> None:
    begin(tracker, study)
    begin(tracker, study)
    tracker.start_run("v1", "victim 1", params={}, tags={}, inputs=INPUTS[:1], nested=False)
    store = Store(f"sqlite:///{database}", study)
    inputs = {name: store.inputs(name) for name in store.runs()}
    # Each with what it was used for; the study's own run reads nothing.
    assert {name: [item.dataset.name for item in found] for name, found in inputs.items()} == {
        study: [],
        "trial 1": [each.name for each in INPUTS],
        "victim 1": [INPUTS[0].name],
    }
    assert [item.tags[0].value for item in inputs["trial 1"]] == ["training", "evaluation"]
    # MLflow shows its numbers, and what it is made from.
    dataset = inputs["victim 1"][0].dataset
    assert (dataset.profile, dataset.source) == ('{"num_rows": 5000}', '{"split": "train"}')


def test_a_run_of_the_past_has_its_own_times(tracker: Tracker, database: Path, study: str) -> None:
    begin(tracker, study)
    tracker.start_run("k2", "trial 2", params={}, tags={}, started=1e9)
    tracker.log("k2", 1, {"loss": 1.0})
    tracker.finish("k2", status="FINISHED", metrics={"loss": 0.5}, ended=1e9 + 30)
    run = Store(f"sqlite:///{database}", study).runs()["trial 2"]
    # MLflow shows how long it took, not how long it took to copy it here; its numbers count all the same.
    assert (run.info.start_time, run.info.end_time) == (10**12, 10**12 + 30_000)
    assert run.data.metrics["loss"] == 0.5


def test_pages_are_known_when_mlflow_is(tracker: Tracker, study: str) -> None:
    tracker._next_attempt = float("inf")  # as if MLflow were away
    begin(tracker, study)
    assert (tracker.table_url(), tracker.run_url("k1"), tracker.compare_url(["k1"])) == (None, None, None)
    tracker._next_attempt = 0.0
    tracker.start_run("k2", "trial 2", params={}, tags={})
    assert f"viewStateShareKey={VIEW.key}" in str(tracker.table_url())
    assert "compareRunsMode=CHART" in str(tracker.charts_url())
    # All of the runs that were asked for, in their order, or no page at all.
    side_by_side = str(tracker.compare_url(["k1", "k2"]))
    runs = [str(tracker.run_url(key)).partition("?")[0].rpartition("/")[2] for key in ("k1", "k2")]
    assert side_by_side.index(runs[0]) < side_by_side.index(runs[1])
    assert tracker.compare_url(["k1", "unknown"]) is None
    assert not tracker.is_server


def test_a_deleted_experiment_comes_back(database: Path, study: str, tmp_path: Path) -> None:
    with Tracker(str(database), tmp_path / "spool") as tracker:
        begin(tracker, study)
    store = Store(f"sqlite:///{database}", study)
    store.client.delete_experiment(store.experiment_id)
    with Tracker(str(database), tmp_path / "spool") as tracker:
        begin(tracker, study)
        # A study whose experiment was deleted in the UI is tracked again, under the same id.
        assert f"/#/experiments/{store.experiment_id}/runs?" in str(tracker.table_url())


def test_one_process_at_a_time_owns_a_spool(tracker: Tracker, database: Path, tmp_path: Path) -> None:
    # A second driver of the same study would log each point twice.
    with pytest.raises(TrackingError, match="another process uses this spool"):
        Tracker(str(database), tmp_path / "spool")


class Server:
    """A real MLflow server that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.folder, self.port = folder, free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "files")]
        light = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "log.txt").open("a") as log:
            self.process = subprocess.Popen(
                command, env=os.environ | light, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.2)
            else:
                return
        pytest.fail((self.folder / "log.txt").read_text())

    def kill(self) -> None:
        os.killpg(self.process.pid, 9)
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.kill()


@pytest.mark.slow
def test_a_server_may_die_and_come_back(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "note.txt"
    note.write_text("hello")
    with Tracker(server.uri, tmp_path / "spool") as tracker:
        assert tracker.ui_command() == server.uri
        assert tracker.is_server
        begin(tracker, "study")
        tracker.log("k1", 1, {"loss": 1.0})
        server.kill()
        begun = time.monotonic()
        for epoch in range(2, 20):
            tracker.log("k1", epoch, {"loss": 1 / epoch})
        tracker.log_files("k1", [note])
        tracker.start_run("k2", "trial 2", params={"knob": 1}, tags={})
        tracker.log("k2", 1, {"loss": 2.0})
        # The study goes on, at full speed, and can tell how much is on hold.
        assert time.monotonic() - begun < 5
        assert tracker.pending == 21
    # The process may end before the server is back.
    assert tracker.pending == 21
    server.start()
    with Tracker(server.uri, tmp_path / "spool") as tracker:
        assert (tracker.pending, tracker.refused) == (0, 0)
        begin(tracker, "study")
        tracker.start_run("k2", "trial 2", params={"knob": 1}, tags={})
        server.kill()
        tracker.log("k1", 20, {"loss": 0.0})
        assert tracker.pending == 1
        server.start()
        tracker._next_attempt = 0.0
        monkeypatch.setattr("bdray.tracking.tracker.RESEND_BUDGET", math.inf)  # however slow the machine is
        tracker.log("k1", 21, {"loss": 0.0})
        # It may also come back while the process lives.
        assert tracker.pending == 0
        tracker.finish("k1", status="FINISHED")
    store = Store(server.uri, "study")
    # Everything arrived once and in order, with the time of its measurement.
    assert store.points("trial 1", "loss") == [(e, 1 / e) for e in range(1, 20)] + [(20, 0.0), (21, 0.0)]
    assert store.points("trial 2", "loss") == [(1, 2.0)]
    assert set(store.runs()) == {"study", "trial 1", "trial 2"}
    run = store.runs()["trial 1"]
    assert run.info.status == "FINISHED"
    assert [file.path for file in store.client.list_artifacts(run.info.run_id)] == ["note.txt"]
    # MLflow printed neither links nor tracebacks into the study's own output.
    captured = capfd.readouterr()
    assert "Traceback" not in captured.out + captured.err
    assert "View run" not in captured.out
