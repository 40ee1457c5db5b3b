"""A study as its author writes it."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from bdray import config
from bdray.config import Tree
from bdray.registry import component
from bdray.report.picks import Pick
from bdray.report.scaling import Scaling
from bdray.report.statistics import Interval
from bdray.report.study import Metric
from bdray.study.search.base import Search
from bdray.study.search.grid import Grid
from bdray.study.search.sampled import BUDGETS
from bdray.study.space import Axis

HEADLINES = (
    Metric(name="attack_success_rate_top1", label="ASR", goal="min"),
    Metric(name="clean_accuracy_top1", label="CA", goal="max"),
)


@component
class Study:
    """A base experiment, the knobs to turn, and seeds."""

    title: str
    """One line for people."""
    question: str = ""
    """What the study answers."""
    source: str = ""
    """Paper and figure or table that it reproduces."""
    base: str
    """Name of the experiment in ``studies/base`` to start from."""
    experiment: dict[str, Any] = Field(default_factory=dict)
    """Fields of the experiment that differ from the base."""
    axes: dict[str, Axis]
    """Knobs by their dotted path in the experiment."""
    search: Search = Grid()
    """How the points are chosen."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2), min_length=1)
    """Every point runs once with each."""
    split: Literal["validation", "test"] | None = None
    """What finished models are judged on. None: a grid on the test split; a search on the validation split, for it
    chooses by what it sees."""
    metrics: tuple[Metric, ...] = Field(default=HEADLINES, min_length=1)
    """What to look at."""
    compare: tuple[bool | int | float | str, ...] = Field(default=(), max_length=2)
    """Two values of the axis whose difference the report spells out; by default the first and the last."""
    reference: bool | int | float | str | None = None
    """Value of the last axis that the report compares its others with, paired by seed, or ``victim``: each point's own.
    None: what is not defended, else the victims, else the first value."""
    interval: Interval = "t"
    """How intervals over seeds are made: Student's t, or BCa bootstrap, which needs four seeds at least and is too
    short for fewer than about twenty."""
    published: tuple[Pick, ...] = ()
    """Which published numbers to show beside the measured ones (see ``bdray.report.picks``)."""
    goals: dict[str, float] = Field(default_factory=dict)
    """What metrics should reach, by name and rates as fractions: at least that much, or at most where the metric's own
    goal is ``min``. The report says which points do, and by how much the others miss."""
    scaling: Scaling | None = None
    """Makes it a scaling study: the report fits laws to the metrics over the sizes of its only axis."""
    deviations: tuple[str, ...] = ()
    """Where the setting departs from the paper's, in plain words."""
    notes: tuple[str, ...] = ()
    """What else a reader should know, such as what was tried, in plain words."""
    for_base: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Fields that are other ones under another base, by its name or that of its folder: each is replaced as a whole, so
    that nothing of a setting for small data is left at a paper's scale. What is said for a base wins over what is said
    for its folder."""

    @field_validator("for_base")
    @classmethod
    def _replaces_what_a_base_may(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, fields in value.items():
            for field in fields:
                if field not in cls.__dataclass_fields__ or field in ("title", "base", "for_base"):
                    raise ValueError(f"{name}: {field!r} is no field of a study that another base may replace")
        return value

    @property
    def science(self) -> Tree:
        """The fields that decide its trials and results; a search with more to spend is the same one."""
        tree: Tree = config.dump(self)
        for name in BUDGETS:
            tree["search"].pop(name, None)
        for axis in tree["axes"].values():
            for name in ("step", "when"):  # unset, they are as if they were not there
                if not axis[name]:
                    del axis[name]
        return {key: tree[key] for key in ("axes", "search", "seeds", "split", "metrics")}
