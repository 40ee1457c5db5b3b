"""What a study that can be read may still get wrong, found before anything runs."""

from typing import TYPE_CHECKING

from bdray import config
from bdray.exceptions import ConfigError
from bdray.report.published import published_points
from bdray.report.published_curves import published_curves
from bdray.report.results import COLUMNS
from bdray.report.study import check_constraints, check_goals, check_reference
from bdray.study.measured import check_measured, epoch_names, measured_names
from bdray.study.search.grid import Grid
from bdray.study.search.storage import check_storage
from bdray.study.space import AFTER_VICTIM, probes, turning_order

if TYPE_CHECKING:
    from bdray.study.spec import LoadedStudy


def check(loaded: "LoadedStudy") -> None:
    """Refuse what the search or the launch could not run, and what the report would refuse in the end.

    Raises:
        ConfigError: With the field, its value and what to do.
    """
    study, launch = loaded.study, loaded.runtime.training
    turning_order(study.axes)
    if loaded.runtime.search_storage is not None:
        check_storage(loaded.runtime.search_storage)
    study.search.check(study.axes, loaded.objectives)
    if study.split == "test" and not isinstance(study.search, Grid):
        raise ConfigError(
            f"{loaded.source_of('split')}: split: a search chooses by what it sees, so it must not see the test split. "
            "Leave split out, and read the test split with a grid over what the search found."
        )
    if launch.nested and launch.gpus_per_worker % 1:
        raise ConfigError("training.gpus_per_worker: a fraction of a GPU needs training.num_workers=1.")
    if "seed" in loaded.told:
        raise ConfigError("override 'seed': has no effect, for every point runs with each of the seeds. Use seeds=[…].")
    _check_overrides(loaded)
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
                f"{loaded.source_of('compare')}: compare: {value!r} is not a value of a single axis of the study. "
                "Give two of its values, or [] for the first and the last."
            )
    check_reference(study.reference, loaded.described_axes, loaded.source_of("reference"))
    check_goals(study.goals, study.metrics, loaded.source_of("goals"))
    check_measured(loaded)
    _check_search(loaded)
    _check_published(loaded)
    _check_scaling(loaded)


def _check_overrides(loaded: "LoadedStudy") -> None:
    """A field that every point sets cannot be set on the command line, too."""
    told = config.flatten(loaded.told)
    for path, axis in loaded.study.axes.items():
        if axis.when:
            continue  # where it is not turned, the base's value holds
        if axis.variants is None:
            turned, instead = {path}, f"'axes={{{path}: {{values: […]}}}}' replaces the study's axes"
        else:
            turned = set.intersection(*(set(config.flatten(variant)) for variant in axis.variants.values()))
            instead = "leave it out, or change the study's file"
        for field in sorted(turned & told.keys()):
            raise ConfigError(
                f"override {field!r}: has no effect, for the axis {axis.name(path)!r} of {loaded.name} sets it at each "
                f"point; {instead}."
            )


def _check_scaling(loaded: "LoadedStudy") -> None:
    """Laws are fitted over the sizes of one axis, of which every value must be or have one."""
    study, axes = loaded.study, loaded.described_axes
    curves = published_curves(study.published)
    if study.scaling is None:
        for curve in curves[:1]:
            raise ConfigError(
                f"{loaded.source}: published ({curve.pick.title}): `sizes` are drawn by scaling studies only. Add "
                "`scaling: {}` to the study, or pick the numbers with `match`."
            )
        return
    if len(axes) != 1:
        raise ConfigError(
            f"{loaded.source_of('scaling')}: scaling: needs exactly one axis, but the study has {len(axes)}."
        )
    nameless = [str(level) for level in axes[0].levels if axes[0].size(level) is None]
    if nameless:
        raise ConfigError(
            f"{loaded.source}: scaling: {', '.join(nameless)} of {axes[0].field} are no numbers. Say in the axis's "
            "`positions` what sizes they stand for."
        )


def _check_search(loaded: "LoadedStudy") -> None:
    """What a search goes by has to be measured at every point, or the search ends at the first that lacks it."""
    search = loaded.study.search
    if search.described is None:
        return
    constraints = search.described.constraints
    check_constraints(constraints, loaded.study.metrics, loaded.source_of("search", "constraints"))
    for point in probes(loaded.study.axes):
        experiment = loaded.trial(point, loaded.study.seeds[0]).experiment
        where, known = loaded.label(point), measured_names(experiment)
        for name in (*loaded.objectives, *(constraint.metric for constraint in constraints)):
            if name not in known:
                hint = config.did_you_mean(name, known)
                raise ConfigError(f"{loaded.source}: search: {name} is not measured at {where}. {hint}")
        if search.watched is not None and search.watched not in epoch_names(experiment):
            hint = config.did_you_mean(search.watched, epoch_names(experiment))
            raise ConfigError(
                f"{loaded.source}: search.stopping.metric: {search.watched} is not measured after the epochs at "
                f"{where}. {hint}"
            )
        in_its_place = experiment.defense is not None and experiment.defense.starts_from == "base"
        if in_its_place and any(constraint.max_loss is not None for constraint in constraints):
            raise ConfigError(
                f"{loaded.source}: search.constraints: max_loss compares with the victim, but at {where} the defense "
                "trains in the victim's place. Use at_least or at_most."
            )


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
