"""The numbers that the papers print, as points that stand beside a study's own.

``data/published.csv`` holds every one of them. A study picks some in its YAML:

- ``{paper: CleanCLIP, table: Fig5, attack: Blended, axis: lambda2}`` is a curve; the place of each point is the
  number behind ``lambda2=`` in its setting.
- ``{paper: CleanCLIP, table: Table1, attack: Blended, defense: finetune MMCL (FT), at: 0}`` is a single number that
  belongs to the axis value 0; with ``at: victim`` it belongs to the model that nobody defended.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import StringIO
from typing import TYPE_CHECKING

from bdray.config import did_you_mean
from bdray.exceptions import ConfigError
from bdray.registry import component

if TYPE_CHECKING:
    import pandas as pd

VICTIM = "victim"
"""The place of numbers measured without a defense."""

METRICS = {
    **{f"CA@{k}": (f"clean_accuracy_top{k}", 100) for k in (1, 3, 5, 10)},
    **{f"BA@{k}": (f"clean_accuracy_top{k}", 100) for k in (1, 3, 5, 10)},
    **{f"ASR@{k}": (f"attack_success_rate_top{k}", 100) for k in (1, 3, 5, 10)},
    "CA": ("clean_accuracy_top1", 100),
    "ASR": ("attack_success_rate_top1", 100),
    "embedding distance d=2(1-cos)": ("embedding_distance", 1),
}
"""The papers' names of metrics (BA is CA under another name), ours, and what the printed number is divided by to
become a fraction."""


@component
class Published:
    """One pick of a study from the papers' numbers."""

    paper: str
    """``CleanCLIP``, ``CleanerCLIP`` or ``UBT``."""
    table: str
    """Table or figure, for example ``Table1`` or ``Fig5``."""
    attack: str
    """As the paper's table names it, for example ``Blended``."""
    defense: str | None = None
    """As the paper's table names it; needed where the table has several."""
    axis: str | None = None
    """Name before ``=number`` in the setting, for example ``lambda2``: the pick is a curve along the study's axis."""
    at: float | str | None = None
    """Axis value that a single number belongs to, or ``victim`` for the model without defense."""

    def __post_init__(self) -> None:
        if (self.axis is None) == (self.at is None):
            raise ValueError("a pick needs exactly one of `axis` (a curve) and `at` (a single number)")

    @property
    def title(self) -> str:
        """For a legend: ``CleanCLIP Fig. 5, Blended``."""
        table = re.sub(
            r"^(Fig|Table)(\d)", lambda match: f"{match[1]}{'.' * (match[1] == 'Fig')} {match[2]}", self.table
        )
        return f"{self.paper} {table}, {self.attack}"


@dataclass(frozen=True)
class PublishedPoint:
    """One printed number."""

    pick: Published
    level: float | str
    """Axis value, or ``victim``."""
    metric: str
    """Our name of the metric."""
    value: float
    """A rate is a fraction in [0, 1]."""
    defense: str
    """As the paper's table names it."""
    setting: str
    """Model, data and training behind the number, in the words of ``published.csv``."""


def published_points(picks: Sequence[Published]) -> tuple[PublishedPoint, ...]:
    """Look up what a study picked.

    Raises:
        ConfigError: If a pick names something that the papers do not have, or several numbers for one place.
    """
    return tuple(point for pick in picks for point in _look_up(pick))


@cache
def _read() -> "pd.DataFrame":
    import pandas as pd

    frame = pd.read_csv(StringIO(files(__package__).joinpath("data/published.csv").read_text(encoding="utf-8")))
    # "Fig5 (values from repo …)" is found as Fig5.
    return frame.assign(table=frame["table_or_figure"].str.partition(" (")[0])


def _look_up(pick: Published) -> list[PublishedPoint]:
    rows = _read()
    wanted = {"paper": pick.paper, "table": pick.table, "attack": pick.attack, "defence": pick.defense}
    for column, name in wanted.items():
        if name is None:
            continue
        known = [str(value) for value in rows[column].unique()]
        if name not in known:
            field = "defense" if column == "defence" else column
            raise ConfigError(f"published ({pick.title}): there is no {field} {name!r}. {did_you_mean(name, known)}")
        rows = rows[rows[column] == name]
    found: dict[tuple[float | str, str], PublishedPoint] = {}
    for defense, setting, printed, number in zip(
        rows["defence"], rows["setting"], rows["metric"], rows["value"], strict=True
    ):
        if printed not in METRICS:
            continue
        metric, divisor = METRICS[printed]
        level = _level(pick, setting)
        if (level, metric) in found:
            several = sorted({str(value) for value in rows["defence"]})
            hint = f"Set `defense` to one of: {', '.join(several)}." if len(several) > 1 else f"One is {setting!r}."
            raise ConfigError(f"published ({pick.title}): has several {printed} for {level!r} ({defense}). {hint}")
        found[level, metric] = PublishedPoint(pick, level, metric, float(number) / divisor, defense, setting)
    return list(found.values())


def _level(pick: Published, setting: str) -> float | str:
    """Where a row of the papers stands on the study's axis."""
    if pick.at is not None:
        return pick.at
    match = re.search(rf"(?:^|;)\s*{re.escape(pick.axis or '')}=([-+.\deE]+)(?:;|$)", setting)
    if match is None:
        raise ConfigError(f"published ({pick.title}): the setting {setting!r} holds no number for axis {pick.axis!r}.")
    return float(match[1])
