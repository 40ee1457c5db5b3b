"""A study with its base and all overrides applied, and how a name on the command line becomes one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bdray import config
from bdray.config import Tree
from bdray.data.base import Split
from bdray.exceptions import ConfigError
from bdray.pipeline.experiment import Experiment
from bdray.report import study as study_file
from bdray.study.check import check
from bdray.study.files import names, studies_folder
from bdray.study.runtime import Runtime
from bdray.study.search.grid import Grid
from bdray.study.space import AFTER_VICTIM, Point, turning_order
from bdray.study.study import Study


@dataclass(frozen=True)
class Trial:
    """One point of a study with one seed."""

    point: Point
    experiment: Experiment
    label: str
    victim_label: str
    """Name of the trial's victim for people."""
    victim_point: Point
    """The knobs of the point that the victim depends on."""
    split: Split
    """What its models are judged on."""
    number: int = 0
    """Of its point, in the order in which the search chose them."""

    @property
    def seed(self) -> int:
        """The trial's seed."""
        return self.experiment.seed


@dataclass(frozen=True)
class LoadedStudy:
    """A study with its base and all overrides applied, ready to be planned."""

    name: str
    source: str
    """The file it came from, for messages."""
    study: Study
    runtime: Runtime
    base: Tree
    """The experiment that the axes vary."""
    is_changed: bool
    """Whether the command line changed it from what its file says."""
    told: Tree
    """Fields of the study and of the experiment that the command line set."""

    @property
    def id(self) -> str:
        """Hash of everything that decides the results."""
        return config.fingerprint({"study": self.study.science, "base": self.base, "name": self.name})

    def trial(self, point: Point, seed: int) -> Trial:
        """Build one trial.

        Raises:
            ConfigError: If the point does not give a valid experiment.
        """
        tree, axis_of = self.base, dict[str, str]()
        for path in turning_order(self.study.axes):
            if path not in point:
                continue
            variants, value = self.study.axes[path].variants, point[path]
            if variants is not None:
                tree = config.merge(tree, variants[value], Experiment)
                axis_of |= dict.fromkeys(config.flatten(variants[value]), path)
            else:
                tree = config.set_dotted(tree, path, value, Experiment)
                axis_of[path] = path

        def source(location: config.Location) -> str:
            axis = axis_of.get(".".join(map(str, location)))  # whose value won over the command line's
            return self.source_of(*(location if axis is None else ("axes", axis)))

        experiment = config.build(Experiment, config.set_dotted(tree, "seed", seed), source)
        own = {path: value for path, value in point.items() if not self.turns(path) & AFTER_VICTIM}
        return Trial(point, experiment, self.label(point, seed), f"victim {self.label(own, seed)}", own, self.split)

    def source_of(self, *location: int | str) -> str:
        """Who said what stands at a location of the study or the experiment: its file, or the command line."""
        return config.source_of(location, self.told, self.source)

    @property
    def split(self) -> Literal["validation", "test"]:
        """What finished models are judged on."""
        return self.study.split or ("test" if isinstance(self.study.search, Grid) else "validation")

    def turns(self, path: str) -> set[str]:
        """Parts of the experiment that an axis changes."""
        return self.study.axes[path].turns(path)

    def label(self, point: Point, seed: int | None = None) -> str:
        """A trial's name for people: ``λ₂=0.5 seed=1``."""
        from bdray.study.space import show

        words = [f"{self.study.axes[path].name(path)}={show(value)}" for path, value in point.items()]
        return " ".join(words + ([f"seed={seed}"] if seed is not None else []))

    @property
    def described_axes(self) -> list[study_file.Axis]:
        """The axes as the report knows them."""
        return [axis.described(path) for path, axis in self.study.axes.items()]

    @property
    def objectives(self) -> dict[str, str]:
        """``max`` or ``min`` by metric."""
        return {metric.name: metric.goal for metric in self.study.metrics}


def load(
    name: str, overrides: Sequence[str] = (), *, base: str | None = None, runtime: Mapping[str, Any] | None = None
) -> LoadedStudy:
    """Find a study by name, lay its base and the overrides under and over it, and validate everything.

    Args:
        name: Such as ``ablations/lambda2``.
        overrides: Words such as ``defense.in_modal_weight=3``; they may name fields of the experiment, the study or
            the runtime.
        base: Another base experiment than the study's own.
        runtime: Fields of the runtime that the command line sets.

    Raises:
        ConfigError: If a name is unknown or a field does not validate.
    """
    folder = studies_folder()
    known = names(folder)
    name = name.removesuffix(".yaml").removeprefix("studies/")
    if name not in known:
        raise ConfigError(f"study {name!r}: there is no such study. {config.did_you_mean(name, known)}")
    tree = config.read_yaml(known[name])
    above = config.read_overrides(overrides)
    parts = {cls: _fields(cls) for cls in (Study, Experiment, Runtime)}
    for field in above:
        if not any(field in fields for fields in parts.values()):
            hint = config.did_you_mean(field, set().union(*parts.values()))
            raise ConfigError(f"override {field!r}: no study, experiment or runtime has such a field. {hint}")
    own = {key: value for key, value in above.items() if key in parts[Study] and key not in parts[Experiment]}
    if base is not None:
        own["base"] = base
    source = str(known[name])
    tree = config.merge(_under_base(folder, tree, own.get("base"), source), own)
    study = config.build(Study, tree, lambda location: config.source_of(location, own, source))
    below = base_tree(folder, study.base, config.source_of(("base",), own, source))
    changes = {key: value for key, value in above.items() if key in parts[Experiment]}
    experiment = config.merge(config.merge(below, study.experiment, Experiment), changes, Experiment)
    settings = config.merge(runtime or {}, {key: value for key, value in above.items() if key in parts[Runtime]})
    started = config.build(Runtime, settings, config.COMMAND_LINE)
    told = {**config.merge(own.get("experiment", {}), changes), **own}
    loaded = LoadedStudy(name, source, study, started, experiment, bool(told), told)
    check(loaded)
    return loaded


def base_tree(folder: Path, name: str, source: str, above: tuple[str, ...] = ()) -> Tree:
    """A base experiment as a tree of fields; it may name a base of its own.

    Args:
        folder: The studies.
        name: Of a file in ``base``.
        source: What names it, for messages.
        above: Bases that led here.

    Raises:
        ConfigError: If there is no such base, or if it leads back to itself.
    """
    known = {
        path.relative_to(folder / "base").with_suffix("").as_posix(): path for path in (folder / "base").rglob("*.yaml")
    }
    if name not in known:
        raise ConfigError(f"{source}: base {name!r}: there is no such base. {config.did_you_mean(name, known)}")
    if name in above:
        raise ConfigError(
            f"{source}: base {name!r}: leads back to itself ({' > '.join((*above, name))}). Break the circle."
        )
    tree = config.read_yaml(known[name])
    below = tree.pop("base", None)
    if below is None:
        return tree
    return config.merge(base_tree(folder, str(below), str(known[name]), (*above, name)), tree, Experiment)


def _under_base(folder: Path, tree: Tree, base: str | None, source: str) -> Tree:
    """A study's fields as they are with its own base, or with another one.

    Raises:
        ConfigError: If it says how it differs for a base that is not there, or is no study under one of those that it
            names, whichever is asked for.
    """
    study = config.build(Study, tree, source)
    bases = [path.relative_to(folder / "base").with_suffix("") for path in (folder / "base").rglob("*.yaml")]
    known = {place.as_posix() for path in bases for place in (path, *path.parents)} - {"."}
    for name in study.for_base:
        if name not in known:
            raise ConfigError(
                f"{source}: for_base.{name}: there is no such base, nor a folder of bases. "
                f"{config.did_you_mean(name, known)}"
            )
        config.build(Study, _changed(tree, study, name), f"{source}: for_base.{name}")
    return _changed(tree, study, base or study.base)


def _changed(tree: Tree, study: Study, base: str) -> Tree:
    """The fields under a base or a folder of bases: those for a folder give way to those for what is in it."""
    for name in sorted(study.for_base, key=lambda name: name.count("/")):
        if f"{base}/".startswith(f"{name}/"):
            tree = {**tree, **study.for_base[name]}
    return tree


def _fields(cls: Any) -> set[str]:
    return set(cls.__dataclass_fields__)
