"""How similar images and captions are that a defense trained on: the scores it told poisoned from clean pairs by."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bdray import config
from bdray.exceptions import ConfigError, DataError
from bdray.report import study as study_file
from bdray.report.study import Axis, Point

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

MAX_BYTES = 64 * 2**20
"""Of one file; a line for each of 500,000 pairs takes about half of it."""
MAX_COSINE = 1.001
"""Half precision rounds a cosine of 1 up to this."""


@dataclass(frozen=True)
class Score:
    """A column that a defense ranks pairs by."""

    column: str
    model: str
    """Whose similarity it is."""
    of_suspicious: bool
    """Whether the defense ranks only the pairs that are suspicious already."""
    suspects_high: bool
    """Whether poisoned pairs should have high similarities."""


SCORES = (
    Score("overfitted_similarity", "overfitted model", of_suspicious=True, suspects_high=True),
    Score("clean_similarity", "clean model", of_suspicious=False, suspects_high=False),
    Score("similarity", "model in training", of_suspicious=False, suspects_high=True),
)
"""A file's score is the first of these that it has; UBT's files have the first two, ABL's one of the last two."""


@dataclass(frozen=True)
class Pairs:
    """Similarities of image and caption of the pairs that a defense ranked."""

    score: Score
    clean: "NDArray[np.float64]"
    """Of clean pairs, [N]."""
    poisoned: "NDArray[np.float64]"
    """Of poisoned pairs, [M]."""

    @property
    def count(self) -> int:
        """Of all pairs, at least one."""
        return len(self.clean) + len(self.poisoned)

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest similarity."""
        found = [*self.clean, *self.poisoned]
        return min(found), max(found)

    @property
    def auroc(self) -> float:
        """Chance that a poisoned pair is the more suspicious of two, ties counting half; NaN if a kind is missing."""
        import pandas as pd

        if not len(self.clean) or not len(self.poisoned):
            return math.nan
        ranks = pd.Series([*self.poisoned, *self.clean]).rank().iloc[: len(self.poisoned)].sum()
        lowest = len(self.poisoned) * (len(self.poisoned) + 1) / 2
        high = float(ranks - lowest) / (len(self.poisoned) * len(self.clean))
        return high if self.score.suspects_high else 1 - high


@dataclass(frozen=True)
class Judged:
    """What one trial's defense saw."""

    point: Point
    seed: int
    file: str
    """Place in the study's folder."""
    pairs: Pairs | None
    """None if there is no such file."""


def read_similarities(
    folder: Path, listed: Sequence[study_file.Similarities], axes: Sequence[Axis]
) -> tuple[Judged, ...]:
    """Read the similarities that a study lists, all of which lie in its own folder.

    Raises:
        ConfigError: If one of the files is a link that leads out of the folder, or stands at no point of the axes.
        DataError: If one of them does not hold what a defense writes.
    """
    root = os.path.realpath(folder)
    for item in listed:
        if not Path(os.path.realpath(folder / item.file)).is_relative_to(root):
            raise ConfigError(
                f"{folder / 'study.json'}: similarities: {item.file} leads out of the study's folder. "
                "Put the file itself there, or run the study again."
            )
    points = [_point(folder / "study.json", item, axes) for item in listed]
    return tuple(
        Judged(point, item.seed, item.file, _read(folder / item.file))
        for point, item in zip(points, listed, strict=True)
    )


def _point(path: Path, item: study_file.Similarities, axes: Sequence[Axis]) -> Point:
    fields = [axis.field for axis in axes]
    if not set(item.point) <= set(fields):
        raise ConfigError(
            f"{path}: similarities: the point of {item.file} may have values for the axes ({', '.join(fields)}) and "
            f"nothing else, but has {', '.join(item.point)}."
        )
    try:  # an axis that a condition turns only elsewhere has none
        return tuple(axis.level(item.point[axis.field]) if axis.field in item.point else None for axis in axes)
    except ValueError as error:
        raise ConfigError(f"{path}: similarities: the point of {item.file} is none of the axes'. {error}.") from error


def _read(path: Path) -> Pairs | None:
    """A report does without a file that is not there; it says so."""
    import pandas as pd

    if not path.exists():
        return None
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path}: must be a file of at most {MAX_BYTES // 2**20} MiB. Remove it to report without it.")
    wanted = {"is_poisoned", "is_suspicious", *(score.column for score in SCORES)}
    try:
        text = pd.read_csv(path, dtype=str, keep_default_na=False, usecols=lambda name: name in wanted)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}: cannot be read as CSV. {' '.join(str(error).split())}") from error
    score = next((score for score in SCORES if score.column in text.columns), None)
    if score is None:
        names = ", ".join(score.column for score in SCORES)
        raise DataError(f"{path}: must have one of the columns {names}. Run the study again to copy it from the store.")
    is_poisoned, similarity = _flags(path, text, "is_poisoned"), _cosines(path, text, score.column)
    if score.of_suspicious:
        is_suspicious = _flags(path, text, "is_suspicious")
        is_poisoned, similarity = is_poisoned[is_suspicious], similarity[is_suspicious]
    if not len(similarity):
        kind = "suspicious pair" if score.of_suspicious else "pair"
        raise DataError(f"{path}: must hold at least one {kind}. Run the study again to copy it from the store.")
    return Pairs(score, similarity[~is_poisoned], similarity[is_poisoned])


def _flags(path: Path, text: "pd.DataFrame", column: str) -> "NDArray[np.bool_]":
    if column not in text.columns:
        hint = config.did_you_mean(column, map(str, text.columns))
        raise DataError(f"{path}: the column {column!r} is missing. {hint}")
    _refuse(path, text[column], ~text[column].isin(["True", "False"]), "True or False")
    return (text[column] == "True").to_numpy()


def _cosines(path: Path, text: "pd.DataFrame", column: str) -> "NDArray[np.float64]":
    import numpy as np
    import pandas as pd

    numbers = pd.to_numeric(text[column], errors="coerce").astype(float)
    _refuse(path, text[column], ~(numbers.abs() <= MAX_COSINE), "a number from -1 to 1")  # NaN is not below it either
    return np.asarray(numbers, dtype=np.float64)


def _refuse(path: Path, values: "pd.Series[str]", is_wrong: "pd.Series[bool]", rule: str) -> None:
    """Name the first wrong value of a column."""
    if is_wrong.any():
        index = int(is_wrong.to_numpy().argmax())
        value = values.iloc[index][:40]
        raise DataError(f"{path}: pair {index + 1}: {values.name} must be {rule}, but is {value!r}.")
