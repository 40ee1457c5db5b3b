"""The studies of a comparison: what they are called, where their models stand, and why they may not be subtracted."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdray import config
from bdray.report.comparison.places import Place, places
from bdray.report.results import Results, load

if TYPE_CHECKING:
    import pandas as pd

BASE_PARTS = ("data", "model", "pretrain")
"""Parts of an experiment that decide the clean model and the images that models are judged on."""
MAX_REASONS = 3


@dataclass(frozen=True)
class Side:
    """One study of a comparison."""

    name: str
    """Unique among the sides."""
    results: Results
    refusal: str = ""
    """Why its numbers may not be subtracted from the first side's; empty if they may."""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """By dotted path."""
        return config.flatten(self.results.study.settings)

    @cached_property
    def places(self) -> "dict[tuple[str, ...], tuple[Place, pd.DataFrame]]":
        """Every kind of finished model with its rows, by the place's identity."""
        return {place.identity: (place, rows) for place, rows in places(self.results)}


def read_sides(folders: Sequence[Path]) -> tuple[Side, ...]:
    """Read the studies and look what keeps each from being compared with the first.

    Raises:
        ConfigError: If one of the folders has no study.
        DataError: If a file of results is damaged.
    """
    loaded = [load(folder) for folder in folders]
    names = _names(loaded)
    return tuple(Side(name, results, _refusal(loaded[0], results)) for name, results in zip(names, loaded, strict=True))


def _refusal(first: Results, other: Results) -> str:
    """Why two studies' numbers may not be subtracted."""
    splits = first.study.split, other.study.split
    if splits[0] != splits[1]:
        return f"it is judged on the {splits[1]} split, the first on the {splits[0]} split"
    settings = [
        {
            path: value
            for path, value in config.flatten(results.study.settings).items()
            if path.split(".")[0] in BASE_PARTS
        }
        for results in (first, other)
    ]
    paths = [
        path for path in dict.fromkeys([*settings[0], *settings[1]]) if settings[0].get(path) != settings[1].get(path)
    ]
    reasons = [f"{path} is {settings[1].get(path)}, not {settings[0].get(path)}" for path in paths[:MAX_REASONS]]
    more = f" and {len(paths) - MAX_REASONS} more" if len(paths) > MAX_REASONS else ""
    return f"it starts from another base ({', '.join(reasons)}{more})" if reasons else ""


def _names(loaded: Sequence[Results]) -> list[str]:
    """The studies' names; where two are the same, with what tells their folders apart."""
    names = [results.study.name for results in loaded]
    parts = [Path(os.path.abspath(results.folder)).parts for results in loaded]
    shown = []
    for name, own in zip(names, parts, strict=True):
        twins = [other for twin, other in zip(names, parts, strict=True) if twin == name]
        different = [part for place, part in enumerate(own) if len({other[place : place + 1] for other in twins}) > 1]
        shown.append(f"{name} ({'/'.join(different)})" if len(twins) > 1 else name)
    return shown
