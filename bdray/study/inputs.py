"""The data sets that a job reads, for the tracker."""

from bdray import config
from bdray.data.base import Split
from bdray.defenses.base import CleanDataDefense
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages import Defend, PoisonVictim, TakeVictim
from bdray.study.plan import Job
from bdray.tracking import DataInput


def inputs(job: Job) -> list[DataInput]:
    """What the job's model is trained on and, where it is evaluated in the end, judged on."""
    experiment = job.stage.experiment
    judged = [_split(experiment, job.split, "evaluation")] if job.evaluation else []
    return [*_trained_on(job, experiment), *judged]


def _trained_on(job: Job, experiment: Experiment) -> list[DataInput]:
    if isinstance(job.stage, TakeVictim):  # somebody else trained it
        return []
    if isinstance(job.stage, PoisonVictim):
        return [_poisoned(experiment)]
    if not isinstance(job.stage, Defend):
        return [_split(experiment, "train", "training")]
    defense = experiment.defense
    assert defense is not None
    clean = [_clean(experiment, defense)] if isinstance(defense, CleanDataDefense) else []
    return [*clean, *([_poisoned(experiment)] if defense.reads_poisoned else [])]


def _split(experiment: Experiment, split: Split, context: str) -> DataInput:
    """A whole split."""
    data = experiment.data
    return DataInput(
        name=f"{_kind(experiment)} {split}",
        digest=data.fingerprint(split),
        context="training" if context == "training" else "evaluation",
        source={"data": config.dump(data), "split": split},
        profile={"num_rows": data.size(split)},
    )


def _poisoned(experiment: Experiment) -> DataInput:
    """The victim's training set: which pairs are drawn and how they are poisoned is in the digest, too."""
    attack, count = experiment.attack, experiment.attack.count(experiment.num_trained)
    drawn = {"num_samples": experiment.victim.num_samples, "seed": experiment.seed, "attack": attack.identity()}
    return DataInput(
        name=f"{_kind(experiment)} train, {count} poisoned by {attack.trigger.type}",
        digest=config.fingerprint([experiment.data.fingerprint("train"), drawn]),
        context="training",
        source={"data": config.dump(experiment.data), "split": "train", **drawn},
        profile={"num_rows": experiment.num_trained, "num_poisoned": count},
    )


def _clean(experiment: Experiment, defense: CleanDataDefense) -> DataInput:
    """What the defender has: a whole split, or some of it, drawn by the seed."""
    split: Split = "finetune" if defense.clean_data == "finetune" else "train"
    whole = _split(experiment, split, "training")
    if defense.clean_data != "train_unpoisoned" and defense.num_samples is None:
        return whole
    drawn: dict[str, int | str | None] = {
        "num_samples": defense.num_samples,
        "seed": experiment.seed,
        "clean_data": defense.clean_data,
    }
    if defense.clean_data == "train_unpoisoned":
        drawn["without"] = _poisoned(experiment).digest
    return DataInput(
        name=f"{whole.name}, {experiment.num_clean} clean",
        digest=config.fingerprint([whole.digest, drawn]),
        context="training",
        source={**whole.source, **drawn},
        profile={"num_rows": experiment.num_clean},
    )


def _kind(experiment: Experiment) -> str:
    return str(config.dump(experiment.data)["type"])
