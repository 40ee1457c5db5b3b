"""What the points of a study are measured by: a value of an axis, or each point's own victim."""

from dataclasses import dataclass

from bdray.report.picks import VICTIM
from bdray.report.results import Results
from bdray.report.study import Level, Point


@dataclass(frozen=True)
class Reference:
    """What the points of a study are compared with."""

    axis: int | None
    """Position of the axis whose value is replaced; None: each point's own victim."""
    level: Level | None = None

    def of(self, point: Point) -> Point:
        """The point that one is compared with; for victims the point itself."""
        if self.axis is None:
            return point
        return tuple(self.level if index == self.axis else level for index, level in enumerate(point))

    def name(self, results: Results) -> str:
        """For people: ``defense none``, ``λ₂ = 0 (FT)``."""
        if self.axis is None or self.level is None:
            return "each point's own victim"
        axis = results.study.axes[self.axis]
        return f"{axis.label} {'= ' * axis.is_numeric}{axis.show(self.level)}"


def references(results: Results) -> list[Reference]:
    """What the study says, else what is not defended, else the victims, else the first value of the last axis.

    A study of attacks alone has none of its own: its first attack is no standard for the others.
    """
    study, victims = results.study, Reference(None)
    if not study.axes:
        return [victims]
    last = len(study.axes) - 1
    chosen = study.reference if study.reference is not None else study.compare[0] if study.compare else None
    if chosen is not None:
        return [victims if chosen == VICTIM else Reference(last, study.axes[last].level(chosen))]
    if not results.has_defense:
        return []
    undefended = [
        Reference(index, level)
        for index in range(last, -1, -1)
        for level in study.axes[index].levels
        if _is_undefended(results, index, level)
    ]
    firsts = [Reference(last, level) for level in study.axes[last].levels[:1]]
    return [*undefended[:1], *([victims] if len(results.victims) else []), *firsts]


def _is_undefended(results: Results, axis: int, level: Level) -> bool:
    """Whether a value of an axis means that nobody defends, while others of its values do."""
    if results.is_defended.all():
        return False
    column = results.trials[results.study.axes[axis].field]
    here = results.is_defended[column == level]
    others = results.is_defended[column != level]
    return len(here) > 0 and not here.any() and len(others) > 0 and bool(others.all())
