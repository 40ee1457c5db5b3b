"""What happens to jobs, passed on to the screen, the tracker and the results folder."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bdray import config
from bdray.pipeline.provenance import commit
from bdray.study.plan import Job, Result
from bdray.study.progress import Progress
from bdray.study.results import ResultsFolder
from bdray.study.spec import LoadedStudy, Trial

if TYPE_CHECKING:
    from bdray.tracking import Tracker

PARAMS = {
    "pretrain": ("data", "model", "pretrain"),
    "trigger": ("data", "model", "pretrain", "attack"),
    "victim": ("data", "model", "pretrain", "attack", "victim", "evaluation", "seed"),
    "defend": ("data", "model", "pretrain", "attack", "victim", "defense", "evaluation", "seed"),
}
"""Parts of the experiment that a stage's run shows as its parameters."""


class Observer:
    """Passes on what happens to jobs. All of it runs on the driver, the only writer of the tracker."""

    def __init__(self, loaded: LoadedStudy, screen: Progress, tracker: "Tracker", results: ResultsFolder) -> None:
        self._loaded, self._screen, self._tracker, self._results = loaded, screen, tracker, results
        self._opened: set[str] = set()

    def start(self, job: Job) -> None:
        """A job was handed to a worker."""
        self._screen.start(job)
        self._open_run(job)

    def epoch(self, job: Job, metrics: Mapping[str, Any]) -> None:
        """A job finished an epoch, or tells of one that it finished before it was interrupted."""
        if "resumed" not in metrics:
            self._screen.epoch(job, metrics)
        self._tracker.log(job.key, int(metrics["epoch"]), self._measured(metrics))

    def result(self, result: Result) -> None:
        """A job's result is in the store, now or since an earlier run."""
        job = result.job
        self._screen.finish(job, result)
        self._open_run(job)
        for epoch in result.model["history"]:  # those that an interrupted run could not log
            self._tracker.log(job.key, int(epoch["epoch"]), self._measured(epoch))
        metrics = {f"{job.split}/{name}": value for name, value in result.metrics.items()}
        for part in ("poisoning", "clean_data"):  # counts and shares, as they came out
            metrics |= {f"{part}/{name}": value for name, value in result.model.get(part, {}).items()}
        self._tracker.finish(job.key, status="FINISHED", metrics=metrics)

    def fail(self, job: Job, reason: str) -> None:
        """A job failed for good."""
        self._screen.fail(job, reason)
        self._open_run(job)
        self._tracker.finish(job.key, status="FAILED", reason=reason)
        self._results.failures.append({"trial": job.label, "reason": reason})

    def trace(self, job: Job, traceback: str) -> None:
        """Keep the traceback of a failure that nobody foresaw, for whoever has to mend it."""
        self._results.add_traceback(job.label, traceback)

    def trial(self, trial: Trial, result: Result | None, victim: Result | None) -> None:
        """A trial of the study has ended."""
        if victim is not None and trial.experiment.defense is not None:
            self._results.add_victim(trial, victim)
        if result is not None:
            self._results.add_trial(trial, result)
        self._results.write()

    def interrupt(self, jobs: Iterable[Job], reason: str) -> None:
        """The study was stopped while these ran; running it again opens their runs again."""
        for job in jobs:
            if job.key in self._opened:
                self._tracker.finish(job.key, status="KILLED", reason=reason)

    def _open_run(self, job: Job) -> None:
        if job.key in self._opened:
            return
        self._opened.add(job.key)
        experiment = job.stage.experiment
        tree = config.dump(experiment)
        params = config.flatten({field: tree[field] for field in PARAMS[job.stage.name]})
        tags = {
            "stage": job.stage.name,
            "study": self._loaded.name,
            "source": self._loaded.study.source,
            "attack": experiment.attack.trigger.type,
            "defense": experiment.defense.type if experiment.defense and job.stage.name == "defend" else "none",
            "commit": commit() or "unknown",
            "data": experiment.data.fingerprint("finetune" if job.stage.name == "defend" else "train"),
            "inputs": " ".join(f"{stage.name}={stage.key}" for stage in job.stage.inputs),
        }
        self._tracker.start_run(job.key, job.label, params=params, tags=tags, nested=job.stage.name == "defend")

    def _measured(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """The numbers of an epoch, the study's own metrics first: MLflow's comparison starts with the first one."""
        names = [name for name in (*self._loaded.objectives, *metrics) if name not in ("epoch", "resumed")]
        return {name: metrics[name] for name in names if isinstance(metrics.get(name), int | float)}
