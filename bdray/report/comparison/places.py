"""What a row of a comparison is about, so that the points of studies with different axes find each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdray.report.results import NO_DEFENSE, Results
from bdray.report.study import Axis, Point

if TYPE_CHECKING:
    import pandas as pd

UNDEFENDED = "no defense"


@dataclass(frozen=True)
class Place:
    """An attack, a defense, and the values of all other axes, by their names for people."""

    attack: str
    defense: str
    rest: tuple[str, ...] = ()
    """``λ₂ = 1``."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal for places that are the same: studies may write ``badnet`` and ``BadNet``."""
        return tuple("".join(filter(str.isalnum, text.casefold())) for text in (self.attack, self.defense, *self.rest))

    @property
    def short_name(self) -> str:
        """Without the attack."""
        return ", ".join([self.defense, *self.rest])

    @property
    def name(self) -> str:
        return ", ".join([self.attack, self.defense, *self.rest])


def places(results: Results) -> "list[tuple[Place, pd.DataFrame]]":
    """Every kind of finished model of a study with its rows, one for each seed; victims first."""
    found: dict[tuple[str, ...], tuple[Place, pd.DataFrame]] = {}
    kinds = [(results.victims, point) for point in results.victim_points()]
    kinds += [(results.trials, point) for point in results.points()]
    for frame, point in kinds:
        rows = results.at(frame, point)
        if len(rows):
            place = _place(results.study.axes, point, rows)
            if place.identity in found:  # two ways of not defending, say
                place = Place(place.attack, place.defense, (*place.rest, results.show(point)))
            found[place.identity] = place, rows
    return list(found.values())


def _place(axes: Sequence[Axis], point: Point, rows: "pd.DataFrame") -> Place:
    names = {
        part: axis.show(level)
        for axis, level in zip(axes, point, strict=True)
        if level is not None and (part := _part(axis))
    }
    rest = [
        f"{axis.label} {'= ' * axis.is_numeric}{axis.show(level)}"
        for axis, level in zip(axes, point, strict=True)
        if level is not None and not _part(axis)
    ]
    attack = names.get("attack") or _only(rows, "trigger_type", "attack")
    kind = _only(rows, "defense_type", "defense")
    defense = UNDEFENDED if kind == NO_DEFENSE else names.get("defense") or kind
    return Place(attack, defense, tuple(rest))


def _part(axis: Axis) -> str:
    """``attack`` or ``defense`` if that is what the axis chooses as a whole; else nothing."""
    turned = {part for variant in axis.variants.values() for part in variant} or {axis.field}
    return next((part for part in ("attack", "defense") if turned == {part}), "")


def _only(rows: "pd.DataFrame", column: str, otherwise: str) -> str:
    return str(rows[column].iloc[0] or otherwise) if column in rows.columns else otherwise
