"""What runs in a trial's process: one job, in place or through Ray Train."""

import gc
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ray import tune

from bdray import config
from bdray.exceptions import BdrayError
from bdray.pipeline import stages
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages import Context, Stage
from bdray.pipeline.store import Store
from bdray.study import faults
from bdray.study.gate import Stopped, is_told_to_stop
from bdray.study.plan import Job
from bdray.study.runtime import Launch, Runtime


def payload(job: Job, runtime: Runtime, num_workers: int, gate: str | None = None) -> dict[str, Any]:
    """What a worker is told: plain JSON, so that nothing has to be unpickled that is not ours.

    Args:
        job: What to compute.
        runtime: Where and how.
        num_workers: That compute it together.
        gate: Name of the gate to ask after every epoch; None: nobody is asked.
    """
    return {
        "key": job.key,
        "label": job.label,
        "split": job.split,
        "stage": job.stage.name,
        "experiment": config.dump(job.stage.experiment),
        "store": runtime.store_uri,
        "cache": str(runtime.cache),
        "training": {**config.dump(runtime.training), "num_workers": num_workers},
        "gate": gate,
    }


def launch_of(told: Mapping[str, Any]) -> Launch:
    """How the job of a payload is launched."""
    return config.build(Launch, told["training"], "trial")


def run_trial(settings: dict[str, Any]) -> None:
    """Run one job as a Tune trial.

    What fails in the trial is reported, and not tried again; when its process dies, or is good for nothing any more,
    Tune starts the trial again.
    """
    told = json.loads(settings["job"])
    try:
        ending = _run(told)
    finally:
        _tidy_up()
    # Told so, Tune need not ask this process once more whether there is anything else.
    tune.report({**ending, "done": True})


def _run(told: dict[str, Any]) -> dict[str, Any]:
    """Run the job, and say how it ended."""
    launch = launch_of(told)
    try:
        with suppress(Stopped):  # the driver knows, for it told us
            if launch.nested:
                _run_nested(told, launch)
            else:
                run_job(told, tune.report)
    except BdrayError as error:
        return {"event": "failed", "reason": str(error)}
    except Exception as error:  # a bug, or a lack of memory: the study goes on without this trial
        said = {"reason": faults.reason(error), "traceback": traceback.format_exc()}
        if faults.needs_new_process(error):
            tune.report({"event": "lost", **said})
            raise  # Tune ends this process and starts the trial again in another
        return {"event": "failed", **said}
    return {"event": "finished"}


def _tidy_up() -> None:
    """Leave nothing of a trial to the next one, nor to those that share its GPU."""
    import torch

    gc.collect()
    _pass_over_libraries(len(sys.modules))
    if torch.cuda.is_initialized():
        with suppress(RuntimeError):  # of a GPU that serves this process no more
            torch.cuda.empty_cache()


@cache
def _pass_over_libraries(num_modules: int) -> None:
    """Let later collections not look at what is here now: half a million objects of libraries, in 0.2 s every time.

    Done again only where modules were added, for cycles among objects that are passed over are never freed.
    """
    gc.freeze()


def run_job(
    told: Mapping[str, Any], report: Callable[[dict[str, Any]], None], rank: int = 0, world_size: int = 1
) -> None:
    """Compute a job's model and evaluation, or find them in the store.

    Raises:
        Stopped: If the driver said so after an epoch; on every worker of a group after the same one.
    """
    import torch

    launch = launch_of(told)
    torch.set_num_threads(launch.threads)
    if 0 < launch.gpus_per_worker < 1 and torch.cuda.is_available():  # Ray shares out GPUs, not their memory
        torch.cuda.set_per_process_memory_fraction(launch.gpus_per_worker)
    job = rebuild(told)
    cache = Path(told["cache"])

    def tell(stage: str, metrics: Mapping[str, float]) -> None:
        report({"event": "epoch", "metrics": json.dumps({"stage": stage, **metrics})})
        if told["gate"] is not None and _is_to_stop(told, int(metrics["epoch"]), context):
            raise Stopped

    context = Context(
        store=Store(told["store"], cache),
        cache=cache,
        report=tell,
        rank=rank,
        world_size=world_size,
        device="cuda" if launch.gpus_per_worker and torch.cuda.is_available() else "cpu",
        execution=launch,
        checkpoint_minutes=launch.checkpoint_minutes,
    )
    last: Stage = job.evaluation or job.stage
    last.result(context)
    if rank == 0:
        _judge_base(job, context)


def _judge_base(job: Job, context: Context) -> None:
    """Measure the trigger on the clean base, unless that is done, or the store has lost the base.

    Jobs of one trigger share it and may run at the same time, so the workers of a group must not wait for each other.
    """
    evaluation = job.base_evaluation
    if evaluation is not None and all(context.store.find(stage.name, stage.key) for stage in evaluation.inputs):
        evaluation.result(replace(context, world_size=1))


def rebuild(told: Mapping[str, Any]) -> Job:
    """The job that a payload describes."""
    experiment = config.build(Experiment, told["experiment"], "trial")
    makers: dict[str, Callable[[Experiment], stages.EpochStage]] = {
        "pretrain": stages.Pretrain,
        "trigger": stages.LearnTrigger,
        "victim": stages.victim_of,
        "defend": stages.Defend,
    }
    return Job(makers[told["stage"]](experiment), told["label"], told["split"])


def _run_nested(told: dict[str, Any], launch: Launch) -> None:
    """Hand the job to a group of Ray Train workers and wait for it."""
    from ray.tune.integration.ray_train import TuneReportCallback

    from bdray.training import trainer

    trainer.launch(
        run_on_worker,
        told,
        name=f"{told['stage']}-{told['key']}",
        folder=Path(told["cache"]) / "ray-train",
        num_workers=launch.num_workers,
        cpus_per_worker=launch.cpus_per_worker,
        gpus_per_worker=launch.gpus_per_worker,
        across_nodes=launch.across_nodes,
        max_retries=launch.max_retries,
        may_pass=faults.may_pass_in_a_group,
        callbacks=[TuneReportCallback()],
    )


def run_on_worker(told: dict[str, Any]) -> None:
    """Entry point of each Ray Train worker: the same job, one rank of it."""
    from bdray.training import trainer

    with suppress(Stopped):  # or Ray Train would take it for a failure, and start again
        run_job(told, trainer.report, *trainer.rank_and_size())


def _is_to_stop(told: Mapping[str, Any], epoch: int, context: Context) -> bool:
    """Ask the gate, as one for the whole group of workers: all go on or none does."""
    stop = context.rank == 0 and is_told_to_stop(told["gate"], told["key"], epoch)
    if context.world_size > 1:
        import torch
        import torch.distributed

        answer = torch.tensor([float(stop)], device=context.device)
        torch.distributed.broadcast(answer, src=0)
        stop = bool(answer.item())
    return stop
