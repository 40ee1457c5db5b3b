"""What a study picks from the numbers that the papers print, as its YAML says it.

A pick has one of four forms:

- ``{paper: CleanCLIP, table: Fig5, attack: Blended, axis: lambda2}`` is a curve along the study's axis; the place of
  each point is the number behind ``lambda2=`` in its setting.
- ``{paper: CleanCLIP, table: Table1, attack: Blended, defense: finetune MMCL (FT), at: 0}`` is a single number that
  belongs to the axis value 0; with ``at: victim`` it belongs to the model that nobody defended.
- ``{paper: CleanCLIP, table: Table5, sizes: "{} poisons"}`` is a curve along sizes of the paper's own, which a scaling
  study draws beside its own ones: each size is the number in that part of the setting, and every attack and defense
  that the pick does not name has a curve.
- ``{paper: UBT, table: Table1, match: {attack: {column: attack}, defense: {column: defense, values: {none: No
  defense}}}}`` is a whole table: every value of every axis is looked up in a column. The study's values that the table
  calls otherwise are named, with null for those that it lacks. With ``at: victim`` beside it the numbers belong to the
  victims, which have values only on the axes that they depend on.
"""

import re
from typing import Literal

from pydantic import Field

from bdray.registry import component

VICTIM = "victim"
"""The place of numbers measured without a defense, where the study has rows for its victims."""


@component
class AxisMatch:
    """How the papers' numbers call the values of one axis."""

    column: Literal["attack", "defense", "setting"]
    """Column of ``published.csv`` in which the values are looked up."""
    values: dict[str, str | None] = Field(default_factory=dict)
    """Their names by our value as printed, such as ``{"5": 75 poisons}``; null where the table has none. A value that
    is not here has the same name in both. The name of a setting is one of its parts, which semicolons separate."""

    def name(self, value: str) -> str | None:
        """What the table calls a value of the axis; None if it lacks it."""
        return self.values.get(value, value)


@component
class Pick:
    """Some of the papers' numbers, and where they stand in the study."""

    paper: str
    """``CleanCLIP``, ``CleanerCLIP`` or ``UBT``."""
    table: str
    """Table or figure, for example ``Table1`` or ``Fig5``."""
    attack: str | None = None
    """As the paper's table names it, for example ``Blended``; needed where the table has several for one place."""
    defense: str | None = None
    """As the paper's table names it; needed where the table has several for one place."""
    setting: str | None = None
    """Part of the setting, such as ``finetune data CC50K``; needed where the table has several for one place."""
    axis: str | None = None
    """Name before ``=number`` in the setting, for example ``lambda2``: the pick is a curve along the study's axis."""
    at: float | str | None = None
    """Axis value that a single number belongs to, or ``victim`` for the models without defense."""
    match: dict[str, AxisMatch] | None = Field(default=None, min_length=1)
    """The pick is a whole table: how the papers call the values of each of the study's axes."""
    sizes: str | None = Field(default=None, pattern=r"^[^{}]*\{\}[^{}]*$")
    """The pick is a curve along the paper's own sizes: the part of the setting that holds them, with ``{}`` for the
    number. For scaling studies."""

    def __post_init__(self) -> None:
        forms = [name for name in ("axis", "at", "match", "sizes") if getattr(self, name) is not None]
        if len(forms) != 1 and not (forms == ["at", "match"] and self.at == VICTIM):
            raise ValueError(
                "a pick needs exactly one of `axis` (a curve), `at` (a single number), `match` (a table) and `sizes` "
                "(a curve along the paper's own sizes); only `at: victim` goes with `match`"
            )

    @property
    def is_single(self) -> bool:
        """Whether it stands at one place only."""
        return self.axis is None and self.match is None

    @property
    def is_of_victims(self) -> bool:
        """Whether it belongs to the study's victims rather than to its trials."""
        return self.at == VICTIM

    @property
    def source(self) -> str:
        """For people: ``CleanCLIP Fig. 5``."""
        place = re.sub(
            r"^(Fig|Table)(\d)", lambda found: f"{found[1]}{'.' * (found[1] == 'Fig')} {found[2]}", self.table
        )
        return f"{self.paper} {place}"

    @property
    def title(self) -> str:
        """For a legend: ``CleanCLIP Fig. 5, Blended``."""
        return ", ".join(filter(None, [self.source, self.attack, self.defense]))
