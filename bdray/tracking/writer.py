"""Records carried out in MLflow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.tracking.spool import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY_TAG = "bdray.key"
REASON_TAG = "bdray.reason"
PARENT_TAG = "mlflow.parentRunId"
EPOCH = "epoch"
"""The metric that holds the last step, because MLflow's public API gives the values of metrics, not their steps."""


@dataclass
class _Run:
    """What this process knows about a run in MLflow."""

    id: str
    last_step: int


class Writer:
    """Carries out records one by one; a repetition changes nothing.

    Args:
        client: Of a store that answers.
        artifacts: Where new experiments keep their files; None: where the server wants them.
    """

    def __init__(self, client: "MlflowClient", artifacts: str | None) -> None:
        self.client = client
        self._artifacts = artifacts
        self._experiments: dict[str, str] = {}
        self._runs: dict[tuple[str, str | None, str], _Run] = {}

    def write(self, record: Record) -> None:
        """Carry out a record, or raise what MLflow raises."""
        actions = {"start": self._start, "log": self._log, "finish": self._finish, "file": self._copy}
        actions[record["action"]](record)

    def experiment_id(self, record: Record) -> str | None:
        """The experiment of a record; None while it was not opened."""
        return self._experiments.get(record["experiment"])

    def run_id(self, record: Record) -> str | None:
        """The run of a record; None while it was not opened."""
        run = self._runs.get((record["experiment"], record["parent"], record["key"]))
        return None if run is None else run.id

    def _start(self, record: Record) -> None:
        from mlflow.entities import Param, RunTag

        known = self._find(record)
        if known is None:
            parent = {PARENT_TAG: self._parent(record)} if record["parent"] else {}
            self.client.create_run(
                self._experiment(record["experiment"]),
                start_time=record["time"],
                tags=record["tags"] | parent,
                run_name=record["name"],
            )
            known = self._run(record)
        run = self.client.get_run(known.id)
        if run.info.status in ("FAILED", "KILLED"):
            self.client.update_run(known.id, status="RUNNING")
        params, tags = run.data.params, run.data.tags
        self.client.log_batch(
            known.id,
            params=[Param(name, value) for name, value in record["params"].items() if name not in params],
            tags=[RunTag(name, value) for name, value in record["tags"].items() if tags.get(name) != value],
            synchronous=True,
        )

    def _log(self, record: Record) -> None:
        known = self._run(record)
        if record["step"] > known.last_step:
            self._log_batch(known, record, record["metrics"], record["step"])
            known.last_step = record["step"]

    def _finish(self, record: Record) -> None:
        known = self._run(record)
        run = self.client.get_run(known.id)
        latest = run.data.metrics
        step = max(known.last_step, 0) if record["step"] is None else record["step"]
        news = {
            name: value
            for name, value in record["metrics"].items()
            if name not in latest or (latest[name] != value and not self._holds(known, name, step, value))
        }
        self._log_batch(known, record, news, step)
        if REASON_TAG in run.data.tags and REASON_TAG not in record["tags"]:
            self.client.delete_tag(known.id, REASON_TAG)
        if run.info.status != record["status"]:
            self.client.set_terminated(known.id, record["status"], end_time=record["time"])

    def _copy(self, record: Record) -> None:
        self.client.log_artifact(self._run(record).id, record["path"], record["folder"] or None)

    def _log_batch(self, known: _Run, record: Record, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric, RunTag

        points = [Metric(name, value, timestamp=record["time"], step=step) for name, value in metrics.items()]
        tags = [RunTag(name, value) for name, value in record["tags"].items()]
        # Also where MLFLOW_ENABLE_ASYNC_LOGGING is set: asynchronous logging was seen to lose points without a word.
        self.client.log_batch(known.id, points, tags=tags, synchronous=True)

    def _holds(self, known: _Run, name: str, step: int, value: float) -> bool:
        return any(p.step == step and p.value == value for p in self.client.get_metric_history(known.id, name))

    def _run(self, record: Record) -> _Run:
        known = self._find(record)
        if known is None:
            raise LookupError(f"the run of {record['key']} is not in MLflow; was it deleted?")
        return known

    def _find(self, record: Record) -> _Run | None:
        """The run that a record is about: by its tags the first time, from memory afterwards."""
        identity = record["experiment"], record["parent"], record["key"]
        if identity not in self._runs:
            parent = self._parent(record) if record["parent"] else None
            experiment, tag = self._experiment(record["experiment"]), f"tags.`{KEY_TAG}` = '{record['key']}'"
            for run in self.client.search_runs([experiment], tag, order_by=["attributes.start_time ASC"]):
                if run.data.tags.get(PARENT_TAG) == parent:
                    self._runs[identity] = _Run(run.info.run_id, int(run.data.metrics.get(EPOCH, -1)))
                    break
        return self._runs.get(identity)

    def _parent(self, record: Record) -> str:
        return self._run({**record, "key": record["parent"], "parent": None}).id

    def _experiment(self, name: str) -> str:
        """The id of the experiment, which is created, or restored if somebody deleted it."""
        if name not in self._experiments:
            found = self.client.get_experiment_by_name(name)
            if found is not None and found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            self._experiments[name] = (
                self.client.create_experiment(name, self._artifacts) if found is None else found.experiment_id
            )
        return self._experiments[name]
