"""What a study left on disk, finished or not: ``study.json``, ``results.csv``, ``history.csv``."""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bdray import config
from bdray.exceptions import DataError
from bdray.report.embeddings import Map, read_maps
from bdray.report.examples import Picture, read_pictures
from bdray.report.published import PublishedPoint, published_points
from bdray.report.sampling import COUNTS
from bdray.report.similarities import Judged, read_similarities
from bdray.report.study import RATES, Axis, Level, Point, Study, read_study

if TYPE_CHECKING:
    import pandas as pd

    from bdray.report.searches.points import Searched

STATUSES = ("done", "failed", "pruned")
"""Pruned: stopped early as hopeless, so without metrics of a finished model."""
ROLES = ("victim", "trial")
TEXT_COLUMNS = ("role", "key", "victim_key", "status", "trigger_type", "defense_type")
NUMBER = "number"
"""Column with a search's number of a trial: the order in which it asked for points. Grids and victims have none."""
COLUMNS = (*TEXT_COLUMNS, "seed", "epoch", "train_seconds", NUMBER, *COUNTS)
"""Columns that are no metric; an axis that is free to choose its name must not take theirs."""
NO_DEFENSE = "none"
"""Type of the defense of models that nobody defended."""


@dataclass(frozen=True)
class Results:
    """A study's folder in memory."""

    folder: Path
    study: Study
    models: "pd.DataFrame"
    """``results.csv``: one row per evaluated model; rates are fractions, missing numbers NaN."""
    history: "pd.DataFrame"
    """``history.csv``: one row per model and epoch, judged on the validation split."""
    published: tuple[PublishedPoint, ...]
    pictures: tuple[Picture, ...] = ()
    """What the study's triggers do to images."""
    judged: tuple[Judged, ...] = ()
    """What the study's defenses told poisoned from clean pairs by."""
    maps: tuple[Map, ...] = ()
    """Where images lie under the study's models."""

    @cached_property
    def trials(self) -> "pd.DataFrame":
        """Finished trials."""
        return self.models[(self.models["role"] == "trial") & (self.models["status"] == "done")]

    @cached_property
    def pruned(self) -> "pd.DataFrame":
        """Trials that were stopped early; their epochs are in the history."""
        return self.models[(self.models["role"] == "trial") & (self.models["status"] == "pruned")]

    @cached_property
    def searched(self) -> "Searched | None":
        """What the search tried; None for a grid."""
        from bdray.report.searches.points import searched  # which looks through these results

        return searched(self) if self.study.search else None

    @cached_property
    def victims(self) -> "pd.DataFrame":
        """Finished victims of defended trials: poisoned, not defended."""
        return self.models[(self.models["role"] == "victim") & (self.models["status"] == "done")]

    @cached_property
    def is_defended(self) -> "pd.Series[bool]":
        """Whether each finished trial ends with a defense; a study of attacks has trials that end with the victim."""
        if "defense_type" not in self.trials.columns:
            return self.trials["role"] == "trial"
        return self.trials["defense_type"] != NO_DEFENSE

    @property
    def has_defense(self) -> bool:
        """Whether any trial defends its model."""
        return bool(self.is_defended.any()) if len(self.trials) else self.study.settings.get("defense") is not None

    @property
    def epoch_label(self) -> str:
        """What the epochs of the trials' histories are counted in."""
        if not self.has_defense:
            return "epoch of the attack"
        return "epoch of the defense" if self.is_defended.all() else "epoch of the last stage"

    @property
    def undefended(self) -> "pd.DataFrame":
        """Every finished model that is poisoned and not defended."""
        import pandas as pd

        return pd.concat([self.victims, self.trials[~self.is_defended]])

    @property
    def axis(self) -> Axis | None:
        """The study's axis, if it has exactly one and that is numeric: then there is a curve to draw."""
        axes = self.study.axes
        return axes[0] if len(axes) == 1 and axes[0].is_numeric else None

    def points(self) -> list[Point]:
        """Planned points in the plan's order, then those that a search added."""
        return list(self._points)  # asked for by every part of a report

    @cached_property
    def _points(self) -> list[Point]:
        planned: list[Point] = list(itertools.product(*(axis.levels for axis in self.study.axes)))
        if self.study.search or not all(axis.values for axis in self.study.axes):
            planned = []
        known = set(planned)
        return planned + [point for point in self._distinct(self.trials) if point not in known]

    def victim_points(self) -> list[Point]:
        """Kinds of victim: one, unless an axis turns a knob of the victim itself."""
        return list(self._victim_points)  # asked for once for each point

    @cached_property
    def _victim_points(self) -> list[Point]:
        return self._distinct(self.victims)

    def at(self, frame: "pd.DataFrame", point: Point) -> "pd.DataFrame":
        """The rows of a frame (victims, trials or history) at one point."""
        for known, places in self._places:  # asked for many times with each of thousands of points
            if frame is known:
                return frame.iloc[places.get(point, [])]
        for axis, level in zip(self.study.axes, point, strict=True):
            column = frame[axis.field]
            frame = frame[column.isna() if level is None else column == level]
        return frame

    @cached_property
    def _places(self) -> "list[tuple[pd.DataFrame, dict[Point, list[int]]]]":
        """Where in the trials, and in the victims, those of each point are."""
        found = []
        for frame in (self.trials, self.victims):
            places: dict[Point, list[int]] = {}
            for place, point in enumerate(self.points_of(frame)):
                places.setdefault(point, []).append(place)
            found.append((frame, places))
        return found

    def show(self, point: Point) -> str:
        """``λ₂ = 0 (FT)``; names stand for themselves, and several axes are separated by commas: ``BadNet, λ₂ = 1``."""
        named = [(axis, level) for axis, level in zip(self.study.axes, point, strict=True) if level is not None]
        return ", ".join(
            f"{axis.label} = {axis.show(level)}" if axis.is_numeric else axis.show(level) for axis, level in named
        )

    def published_at(self, point: Point, metric: str, *, is_victim: bool) -> PublishedPoint | None:
        """The first number that the papers print for a point of the trials, or of the victims."""
        place = point, metric, is_victim
        return next((found for found in self.published if (found.point, found.metric, found.is_victim) == place), None)

    def missing(self) -> list[str]:
        """Planned trials without a result, by name; empty for a search, whose points are not known beforehand."""
        planned = [(point, seed) for point in self.points() for seed in self.study.seeds]
        if len(planned) != self.study.planned_trials:
            return []
        done = {(point, seed) for point in self.points() for seed in self.at(self.trials, point)["seed"]}
        return [f"{self.show(point) or 'trial'}, seed {seed}" for point, seed in planned if (point, seed) not in done]

    def points_of(self, frame: "pd.DataFrame") -> list[Point]:
        """The point that each row of a frame belongs to."""
        columns = [frame[axis.field] for axis in self.study.axes]
        if not columns:
            return [()] * len(frame)
        return [tuple(None if _is_missing(level) else level for level in row) for row in zip(*columns, strict=True)]

    def tidy(self) -> "pd.DataFrame":
        """Every number of the study in one long table (see ``bdray.report.tidy``)."""
        from bdray.report.tidy import tidy

        return tidy(self)

    def _distinct(self, frame: "pd.DataFrame") -> list[Point]:
        """The points of a frame in the order of the axes; levels that no plan knows stand behind those that it does."""
        orders: list[dict[Level | None, int]] = [
            {level: place for place, level in enumerate(axis.levels)} for axis in self.study.axes
        ]

        def place(point: Point) -> list[tuple[int, Level]]:
            return [
                (order.get(level, len(order) + (level is None)), level or 0)
                for order, level in zip(orders, point, strict=True)
            ]

        return sorted(set(self.points_of(frame)), key=place)


def load(folder: Path) -> Results:
    """Read a study's folder; a half-finished one is as good as any.

    Raises:
        ConfigError: If there is no study in the folder, ``study.json`` does not describe one, or it names a file
            that lies elsewhere.
        DataError: If one of the CSV files is damaged, or does not fit the study.
    """
    study = read_study(folder / "study.json")
    metrics = [metric.name for metric in study.metrics]
    models = _read_csv(folder / "results.csv", study, ["role", "seed", "status", *metrics])
    history = _read_csv(folder / "history.csv", study, ["role", "seed", "epoch"])
    _check_models(folder / "results.csv", study, models)
    pictures = read_pictures(folder, study.examples)
    judged = read_similarities(folder, study.similarities, study.axes)
    maps = read_maps(folder, study.embeddings)
    published = published_points(study.published, study.axes)
    return Results(folder, study, models, history, published, pictures, judged, maps)


def _read_csv(path: Path, study: Study, required: list[str]) -> "pd.DataFrame":
    """Read text and turn it into numbers ourselves: a level called ``None`` stays one, and errors name columns."""
    import pandas as pd

    required = [*required, *(axis.field for axis in study.axes)]
    try:
        text = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (FileNotFoundError, pd.errors.EmptyDataError):  # no model has finished yet
        return pd.DataFrame({column: [] for column in required})
    except (OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: cannot be read as CSV. {' '.join(str(error).split())}") from error
    for column in required:
        if column not in text.columns:
            hint = config.did_you_mean(column, map(str, text.columns))
            raise DataError(f"{path}: the column {column!r} is missing. {hint}")
    texts = {*TEXT_COLUMNS, *(axis.field for axis in study.axes if not axis.is_numeric)}
    columns = {
        name: [value or None for value in text[name]] if name in texts else _numbers(path, name, list(text[name]))
        for name in map(str, text.columns)
    }
    return pd.DataFrame(columns).astype({"seed": int})


def _numbers(path: Path, column: str, values: list[str]) -> list[float]:
    """Empty fields become NaN."""
    numbers: list[float] = []
    for line, value in enumerate(values, start=2):
        try:
            numbers.append(float(value) if value else math.nan)
        except ValueError as error:
            raise DataError(f"{path}: line {line}: {column} must be a number, but is {value!r}.") from error
        if math.isnan(numbers[-1]) and column in ("seed", "epoch"):
            raise DataError(f"{path}: line {line}: {column} is missing.")
    return numbers


def _check_models(path: Path, study: Study, models: "pd.DataFrame") -> None:
    for column, allowed in (("role", ROLES), ("status", STATUSES)):
        for value in models[column].unique():
            if value not in allowed:
                raise DataError(f"{path}: {column} {value!r} is none of {', '.join(allowed)}.")
    for column in models.columns:
        if column.startswith(RATES):
            wrong = models[column][(models[column] < 0) | (models[column] > 1)]
            if len(wrong):
                raise DataError(f"{path}: {column} holds {wrong.iloc[0]:g}, but rates are fractions from 0 to 1.")
    done = models[models["status"] == "done"]
    repeated = done[done.duplicated(["role", "seed", *(axis.field for axis in study.axes)])]
    if len(repeated):
        row = repeated.iloc[0].to_dict()
        where = ", ".join(f"{axis.label} = {row[axis.field]}" for axis in study.axes)
        raise DataError(
            f"{path}: two finished models stand for a {row['role']}, {where}, seed {row['seed']}; "
            "keep one, or give each the value of the axis that tells them apart."
        )


def _is_missing(level: object) -> bool:
    return level is None or (isinstance(level, float) and math.isnan(level))
