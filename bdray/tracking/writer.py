"""Records carried out in MLflow."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bdray.tracking import links
from bdray.tracking.inputs import to_mlflow
from bdray.tracking.spool import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

KEY_TAG = "bdray.key"
REASON_TAG = "bdray.reason"
PARENT_TAG = "mlflow.parentRunId"
NOTE_TAG = "mlflow.note.content"
EPOCH = "epoch"
"""The metric that holds the last step, because MLflow's public API gives the values of metrics, not their steps."""


class Writer:
    """Carries out records one by one; a repetition changes nothing."""

    def __init__(self, client: "MlflowClient", artifacts: str | None) -> None:
        self._client = client
        self._artifacts = artifacts  # of new experiments; None: where the server wants them
        self._experiments: dict[str, str] = {}
        self._runs: dict[tuple[str, str | None, str], str] = {}
        self._last_steps: dict[str, int] = {}
        self._created: dict[str, dict[str, float]] = {}
        """Last values of the metrics of runs that are open and were created here: what MLflow need not be asked for."""

    def write(self, record: Record) -> None:
        """Carry out a record, or raise what MLflow raises."""
        actions = {"start": self._start, "log": self._log, "finish": self._finish, "file": self._copy}
        actions[record["action"]](record)

    def known_experiment(self, record: Record) -> str | None:
        """The id of a record's experiment, once a record of it was carried out."""
        return self._experiments.get(record["experiment"])

    def known_run(self, record: Record) -> str | None:
        """The id of a record's run, once a record of it was carried out."""
        return self._runs.get(_identity(record))

    def _start(self, record: Record) -> None:
        from mlflow.entities import Param, RunTag

        found = self._find(record)
        run = self._client.get_run(found) if found else self._create(record)
        run_id = run.info.run_id
        if run.info.status in ("FAILED", "KILLED"):
            self._client.update_run(run_id, status="RUNNING")
        params, tags = run.data.params, run.data.tags
        wanted = self._filled(record["tags"], record, run_id)
        self._client.log_batch(
            run_id,
            params=[Param(name, value) for name, value in record["params"].items() if name not in params],
            tags=[RunTag(name, value) for name, value in wanted.items() if tags.get(name) != value],
            synchronous=True,
        )
        self._read(run, record.get("inputs", []))
        self._tag_experiment(record, run_id)

    def _read(self, run: "Run", inputs: Sequence[Mapping[str, Any]]) -> None:
        """Note what a run reads, as far as it is not noted."""
        noted = run.inputs.dataset_inputs if run.inputs else []
        known = {(each.dataset.name, each.dataset.digest) for each in noted}
        news = [to_mlflow(each) for each in inputs if (each["name"], each["digest"]) not in known]
        if news:
            self._client.log_inputs(run.info.run_id, datasets=news)

    def _tag_experiment(self, record: Record, run_id: str) -> None:
        wanted = record.get("experiment_tags", {})
        if not wanted:
            return
        experiment = self._client.get_experiment(self._experiment(record))
        for name, value in self._filled(wanted, record, run_id).items():
            if experiment.tags.get(name) != value:
                self._client.set_experiment_tag(experiment.experiment_id, name, value)

    def _filled(self, tags: Mapping[str, str], record: Record, run_id: str) -> dict[str, str]:
        """Tags whose note has the ids that its links need."""
        experiment = self._experiment(record)
        return {
            name: links.fill(value, experiment, run_id) if name == NOTE_TAG else value for name, value in tags.items()
        }

    def _log(self, record: Record) -> None:
        run_id = self._run(record)
        if record["step"] > self._last_steps[run_id]:
            self._log_batch(run_id, record, record["metrics"], record["step"])
            self._last_steps[run_id] = record["step"]

    def _finish(self, record: Record) -> None:
        run_id = self._run(record)
        run = None if run_id in self._created else self._client.get_run(run_id)
        step = max(self._last_steps[run_id], 0) if record["step"] is None else record["step"]
        last = self._created[run_id] if run is None else run.data.metrics  # every metric of which there is any point
        news = {
            name: value
            for name, value in record["metrics"].items()
            if name not in last or (last[name] != value and not self._holds(run_id, name, step, value))
        }
        self._log_batch(run_id, record, news, step)
        if run is not None and REASON_TAG in run.data.tags and REASON_TAG not in record["tags"]:
            self._client.delete_tag(run_id, REASON_TAG)
        if run is None or run.info.status != record["status"]:
            self._client.set_terminated(run_id, record["status"], end_time=_moment(record, "ended"))
        self._created.pop(run_id, None)

    def _copy(self, record: Record) -> None:
        self._client.log_artifact(self._run(record), record["path"], record["folder"] or None)

    def _log_batch(self, run_id: str, record: Record, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric, RunTag

        points = [Metric(name, value, timestamp=record["time"], step=step) for name, value in metrics.items()]
        tags = [RunTag(name, value) for name, value in record["tags"].items()]
        # Also where MLFLOW_ENABLE_ASYNC_LOGGING is set: asynchronous logging was seen to lose points without a word.
        self._client.log_batch(run_id, points, tags=tags, synchronous=True)
        if run_id in self._created:
            self._created[run_id].update(metrics)

    def _holds(self, run_id: str, name: str, step: int, value: float) -> bool:
        return any(p.step == step and p.value == value for p in self._client.get_metric_history(run_id, name))

    def _run(self, record: Record) -> str:
        run_id = self._find(record)
        if run_id is None:
            raise LookupError(f"the run of {record['key']} is not in MLflow; was it deleted?")
        return run_id

    def _find(self, record: Record) -> str | None:
        """The id of a record's run: by its tags the first time, from memory afterwards."""
        if _identity(record) not in self._runs:
            parent, key = self._parent(record), f"tags.`{KEY_TAG}` = '{record['key']}'"
            for run in self._client.search_runs([self._experiment(record)], key, order_by=["start_time ASC"]):
                if run.data.tags.get(PARENT_TAG) == parent:
                    self._remember(record, run)
                    break
        return self.known_run(record)

    def _remember(self, record: Record, run: "Run") -> None:
        self._last_steps[run.info.run_id] = int(run.data.metrics.get(EPOCH, -1))
        self._runs[_identity(record)] = run.info.run_id

    def _create(self, record: Record) -> "Run":
        parent = self._parent(record)
        tags = record["tags"] | ({PARENT_TAG: parent} if parent else {})
        run = self._client.create_run(self._experiment(record), _moment(record, "started"), tags, record["name"])
        self._remember(record, run)
        self._created[run.info.run_id] = {}
        return run

    def _parent(self, record: Record) -> str | None:
        return self._run({**record, "key": record["parent"], "parent": None}) if record["parent"] else None

    def _experiment(self, record: Record) -> str:
        """The id of a record's experiment, which is created, or restored if somebody deleted it."""
        name = record["experiment"]
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            if found is not None and found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            self._experiments[name] = (
                self._client.create_experiment(name, self._artifacts) if found is None else found.experiment_id
            )
        return self._experiments[name]


def _identity(record: Record) -> tuple[str, str | None, str]:
    return record["experiment"], record["parent"], record["key"]


def _moment(record: Record, field: str) -> int:
    """A time that a record names, or else its own, as MLflow counts it."""
    seconds: float | None = record.get(field)
    return int(record["time"] if seconds is None else seconds * 1000)
