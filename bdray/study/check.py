"""What a study that can be read may still get wrong, found before anything runs."""

from typing import TYPE_CHECKING

from bdray.exceptions import ConfigError
from bdray.report.published import published_points
from bdray.report.results import COLUMNS
from bdray.report.study import check_goals
from bdray.study.search.grid import Grid
from bdray.study.space import AFTER_VICTIM

if TYPE_CHECKING:
    from bdray.study.spec import LoadedStudy


def check(loaded: "LoadedStudy") -> None:
    """Refuse what the search or the launch could not run, and what the report would refuse in the end.

    Raises:
        ConfigError: With the field, its value and what to do.
    """
    study, launch = loaded.study, loaded.runtime.training
    study.search.check(study.axes, loaded.objectives)
    if study.split == "test" and not isinstance(study.search, Grid):
        raise ConfigError(
            f"{loaded.source}: split: a search chooses by what it sees, so it must not see the test split. "
            "Leave split out, and read the test split with a grid over what the search found."
        )
    if launch.nested and launch.gpus_per_worker % 1:
        raise ConfigError("training.gpus_per_worker: a fraction of a GPU needs training.num_workers=1.")
    if "seed" in study.axes:
        raise ConfigError("axes.seed: would be overwritten, for every point runs with each of the seeds. Use seeds.")
    for path in study.axes:
        if path in COLUMNS:
            raise ConfigError(f"axes.{path}: the results have a column of that name. Give the axis another one.")
    if len(set(study.seeds)) != len(study.seeds):
        raise ConfigError(f"seeds: every seed must be given once, not {list(study.seeds)}.")
    values = [value for axis in study.axes.values() for value in axis.choices]
    for value in study.compare:
        if len(study.axes) != 1 or value not in values:
            raise ConfigError(
                f"{loaded.source}: compare: {value!r} is not a value of a single axis of the study. "
                "Give two of its values, or [] for the first and the last."
            )
    check_goals(study.goals, study.metrics, loaded.source)
    _check_published(loaded)


def _check_published(loaded: "LoadedStudy") -> None:
    """A number of the victims needs a row: they have values on the axes that they depend on, and on no others."""
    axes = loaded.described_axes
    own = [axis.field for axis in axes if not loaded.turns(axis.field) <= AFTER_VICTIM]
    for printed in published_points(loaded.study.published, axes):
        matched = [axis.field for axis, level in zip(axes, printed.point, strict=True) if level is not None]
        if printed.is_victim and matched != own:
            raise ConfigError(
                f"published ({printed.pick.title}): `match` names {', '.join(matched) or 'no axis'}, but the study's "
                f"victims depend on {', '.join(own) or 'none'}. Match these axes and no others."
            )
