"""The numbers that the papers print, as points that stand beside a study's own.

``data/published.csv`` holds every one of them; ``bdray.report.picks`` says how a study picks some.
"""

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import StringIO

from bdray.config import did_you_mean
from bdray.exceptions import ConfigError
from bdray.report.picks import VICTIM, AxisMatch, Pick
from bdray.report.study import Axis, Level, Point, show_level

_SETS = ("CIFAR10", "CIFAR100", "DTD", "STL10", "SVHN", "Food101")
METRICS = {
    **{f"CA@{k}": (f"clean_accuracy_top{k}", 100) for k in (1, 3, 5, 10)},
    **{f"BA@{k}": (f"clean_accuracy_top{k}", 100) for k in (1, 3, 5, 10)},
    **{f"ASR@{k}": (f"attack_success_rate_top{k}", 100) for k in (1, 3, 5, 10)},
    "CA": ("clean_accuracy_top1", 100),
    "ASR": ("attack_success_rate_top1", 100),
    "embedding distance d=2(1-cos)": ("embedding_distance", 1),
    "poisons among the top 5000 (count)": ("detection_true_positives", 1),
    "accuracy, linear probe on ImageNet1K": ("linear_probe_clean_accuracy", 100),
    **{f"accuracy, linear probe on {name}": (f"probe_{name.lower()}_accuracy", 100) for name in _SETS},
    "accuracy, linear probe on OxfordIIITPet": ("probe_oxford_iiit_pet_accuracy", 100),
    "accuracy, linear probe on RenderedSST2": ("probe_rendered_sst2_accuracy", 100),
}
"""The papers' names of metrics (BA is CA under another name), some with their setting, ours, and what the printed
number is divided by to become a fraction."""

Printed = Mapping[str, str]
"""A line of ``published.csv`` by column; picks and points have fields of the same names."""


@dataclass(frozen=True)
class PublishedPoint:
    """One printed number."""

    pick: Pick
    point: Point
    """Its place on the study's axes; None on an axis that victims do not depend on."""
    metric: str
    """Our name of the metric."""
    value: float
    """A rate is a fraction in [0, 1]."""
    attack: str
    """As the paper's table names it."""
    defense: str
    """As the paper's table names it."""
    setting: str
    """Model, data and training behind the number, in the words of ``published.csv``."""

    @property
    def is_victim(self) -> bool:
        """Whether it stands beside the study's victims rather than its trials."""
        return self.pick.is_of_victims


def published_points(picks: Iterable[Pick], axes: Sequence[Axis]) -> tuple[PublishedPoint, ...]:
    """Look up what a study with these axes picked; curves along sizes of the paper's own have no place on them.

    Raises:
        ConfigError: If a pick names something that the papers or the study do not have, or several numbers for one
            place.
    """
    return tuple(point for pick in picks if pick.sizes is None for point in _look_up(pick, axes))


def parts_of(setting: str) -> list[str]:
    """What a setting is made of: ``["75 poisons", "CC3M 3M"]``."""
    return [part.strip() for part in setting.split(";")]


def known_metric(line: Printed) -> tuple[str, int] | None:
    """Our name of what a line measures, and the divisor; None for what bdray does not measure."""
    return METRICS.get(line["metric"]) or METRICS.get(f"{line['metric']}, {line['setting']}")


@cache
def _read() -> tuple[Printed, ...]:
    text = files(__package__).joinpath("data/published.csv").read_text(encoding="utf-8")
    # "Fig5 (values from repo …)" is found as Fig5.
    return tuple(
        {**line, "table": line["table_or_figure"].partition(" (")[0], "defense": line["defence"]}
        for line in csv.DictReader(StringIO(text))
    )


def lines_of(pick: Pick) -> Sequence[Printed]:
    """The lines of ``published.csv`` that a pick names.

    Raises:
        ConfigError: If there is none.
    """
    lines: Sequence[Printed] = _read()
    for column in ("paper", "table", "attack", "defense", "setting"):
        name = getattr(pick, column)
        if name is not None:
            lines = _named(lines, column, name, _where(pick))
    return lines


def _look_up(pick: Pick, axes: Sequence[Axis]) -> list[PublishedPoint]:
    lines = lines_of(pick)
    found: dict[tuple[Point, str], Printed] = {}
    # A list, so that a name that is nowhere is told before numbers that are too many.
    for point, line in list(_places(pick, lines, axes)):
        if (known := known_metric(line)) is not None:
            place = point, known[0]
            if place in found:
                raise _several(pick, point, line, found[place], lines)
            found[place] = line
    if not found:
        printed = ", ".join(sorted({line["metric"] for line in lines}))
        raise ConfigError(f"{_where(pick)}: has only {printed}, which bdray does not measure. Leave it out.")
    return [_point(pick, place, line) for (place, _), line in found.items()]


def _point(pick: Pick, place: Point, line: Printed) -> PublishedPoint:
    known = known_metric(line)
    assert known is not None
    metric, divisor = known
    return PublishedPoint(
        pick=pick,
        point=place,
        metric=metric,
        value=float(line["value"]) / divisor,
        attack=line["attack"],
        defense=line["defense"],
        setting=line["setting"],
    )


def _places(pick: Pick, lines: Sequence[Printed], axes: Sequence[Axis]) -> Iterator[tuple[Point, Printed]]:
    """Where on the study's axes the lines stand."""
    if pick.match is not None:
        yield from _matched(pick, pick.match, lines, axes)
    elif pick.is_of_victims:
        yield from (((None,) * len(axes), line) for line in lines)
    elif len(axes) != 1:
        raise ConfigError(f"{_where(pick)}: `axis` and `at` need one axis, but the study has {len(axes)}. Use `match`.")
    else:
        yield from (((_level(pick, axes[0], line["setting"]),), line) for line in lines)


def _level(pick: Pick, axis: Axis, setting: str) -> Level:
    """Where a line stands on the study's only axis."""
    if pick.at is not None:
        # A curve has room for a number between the study's own.
        if isinstance(pick.at, float) if axis.is_numeric else pick.at in axis.levels:
            return pick.at
        hint = did_you_mean(str(pick.at), map(show_level, axis.levels))
        raise ConfigError(f"{_where(pick)}: at: {pick.at!r} is no value of the axis {axis.field}. {hint}")
    if not axis.is_numeric:
        raise ConfigError(
            f"{_where(pick)}: the axis {axis.field} has no list of numbers. Use `match`, `at` or no pick."
        )
    number = re.search(rf"(?:^|;)\s*{re.escape(pick.axis or '')}=([-+.\deE]+)(?:;|$)", setting)
    if number is None:
        raise ConfigError(f"{_where(pick)}: the setting {setting!r} holds no number for axis {pick.axis!r}.")
    return float(number[1])


def _matched(
    pick: Pick, match: Mapping[str, AxisMatch], lines: Sequence[Printed], axes: Sequence[Axis]
) -> Iterator[tuple[Point, Printed]]:
    """Every combination of the axes' values, with its lines."""
    fields = [axis.field for axis in axes]
    for field in match:
        if field not in fields:
            raise ConfigError(f"{_where(pick)}: match.{field}: is no axis of the study. {did_you_mean(field, fields)}")
    choices = [_choices(pick, axis, match.get(axis.field)) for axis in axes]
    for combination in itertools.product(*choices):
        kept = lines
        for field, (_, name) in zip(fields, combination, strict=True):
            if name is not None:
                hint = " If the table lacks it, set its value to null in `values`."
                kept = _named(kept, match[field].column, name, f"{_where(pick)}: match.{field}", hint)
        point = tuple(level for level, _ in combination)
        yield from ((point, line) for line in kept)


def _choices(pick: Pick, axis: Axis, match: AxisMatch | None) -> list[tuple[Level | None, str | None]]:
    """The values of one axis that the table has, each with the table's name."""
    if match is None:
        if pick.is_of_victims:
            return [(None, None)]
        raise ConfigError(f"{_where(pick)}: match.{axis.field}: is missing. Say in which column its values stand.")
    levels = {show_level(level): level for level in axis.levels}
    for value in match.values:
        if value not in levels:
            hint = did_you_mean(value, levels)
            raise ConfigError(f"{_where(pick)}: match.{axis.field}.values: {value!r} is no value of the axis. {hint}")
    if not levels:
        raise ConfigError(f"{_where(pick)}: match.{axis.field}: a search chooses the values, so none can be matched.")
    return [(level, name) for value, level in levels.items() if (name := match.name(value)) is not None]


def _named(lines: Sequence[Printed], column: str, name: str, where: str, hint: str = "") -> list[Printed]:
    """The lines with a name in a column."""
    kept = [line for line in lines if name in _names(line, column)]
    if not kept:
        known = {known for line in lines for known in _names(line, column)}
        raise ConfigError(f"{where}: there is no {column} {name!r}. {did_you_mean(name, known)}{hint}")
    return kept


def _names(line: Printed, column: str) -> list[str]:
    return parts_of(line[column]) if column == "setting" else [line[column]]


def _several(pick: Pick, point: Point, line: Printed, other: Printed, lines: Sequence[Printed]) -> ConfigError:
    """Two lines claim one place: what would tell them apart."""
    place = ", ".join(show_level(level) for level in point if level is not None) or VICTIM
    column = next((name for name in ("attack", "defense") if line[name] != other[name]), "setting")
    names = [set(_names(line, column)) for line in lines]
    different = ", ".join(sorted(names[0].union(*names) - names[0].intersection(*names)))
    return ConfigError(
        f"{_where(pick)}: has several {line['metric']} for {place}. Set `{column}` to one of: {different}."
    )


def _where(pick: Pick) -> str:
    return f"published ({pick.title})"
