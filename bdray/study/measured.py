"""What a study's evaluations and defenses will measure, known before anything is trained."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bdray import config
from bdray.defenses.base import Defense
from bdray.exceptions import ConfigError
from bdray.pipeline.experiment import Experiment
from bdray.report.study import DETECTION
from bdray.study.space import probes

if TYPE_CHECKING:
    from bdray.study.spec import LoadedStudy


def measured_names(experiment: Experiment) -> set[str]:
    """Names of the numbers that an experiment's final model will have."""
    names = {name for metric in experiment.evaluation.metrics for name in metric.names}
    return names | set(experiment.defense.detection_names if experiment.defense else ())


def epoch_names(experiment: Experiment) -> set[str]:
    """Names of the numbers that every epoch will have."""
    evaluation = experiment.evaluation
    judged = [metric for metric in evaluation.metrics if metric.every_epoch] if evaluation.epoch_images else []
    return {"loss", *(name for metric in judged for name in metric.names)}


def check_measured(loaded: "LoadedStudy") -> None:
    """Refuse metrics that none of the study's points will have.

    Raises:
        ConfigError: If there is one, or a point does not make a valid experiment.
    """
    missing, known = set(loaded.objectives), set[str]()
    for experiment in _experiments(loaded):
        known |= measured_names(experiment)
        missing -= known
        if not missing:
            return
    for index, metric in enumerate(loaded.study.metrics):
        if metric.name in missing:
            raise ConfigError(
                f"{loaded.source_of('metrics')}: metrics.{index}.name: {metric.name} is measured at none of the "
                f"study's points. {_hint(metric.name, known)}"
            )


def _experiments(loaded: "LoadedStudy") -> Iterator[Experiment]:
    """Between them they have every value of every axis; mostly the first has all metrics."""
    for point in probes(loaded.study.axes):
        yield loaded.trial(point, loaded.study.seeds[0]).experiment


def _hint(name: str, known: set[str]) -> str:
    """The nearest name, or who would measure it."""
    defenses = [kind for kind, member in Defense.members().items() if _detects(member, name)]
    if defenses and not any(other.startswith(DETECTION) for other in known):
        return f"Only defenses that detect poisons measure it: {', '.join(defenses)}."
    return config.did_you_mean(name, known)


def _detects(member: type, name: str) -> bool:
    return issubclass(member, Defense) and name in member.detection_names
