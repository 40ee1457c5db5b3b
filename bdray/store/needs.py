"""Which results studies need: by their plans, and by what their earlier runs left in the folder of results."""

import csv
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from bdray.config import did_you_mean
from bdray.exceptions import ConfigError
from bdray.store.entries import Contents
from bdray.study.files import names, studies_folder
from bdray.study.plan import jobs, trials
from bdray.study.search.base import Home, Proposal
from bdray.study.search.grid import Grid
from bdray.study.search.meter import Meter
from bdray.study.spec import LoadedStudy, load

KEYS = ("key", "victim_key")
"""Columns of ``results.csv`` that name results in the store."""


def matching(patterns: Sequence[str]) -> list[str]:
    """Names of studies by patterns such as ``ubt/*``, without those of ``!ubt/main``; all studies if none are given.

    Raises:
        ConfigError: If a pattern fits none.
    """
    known = list(names(studies_folder()))
    fits = {pattern: [name for name in known if fnmatchcase(name, pattern.removeprefix("!"))] for pattern in patterns}
    for pattern, found in fits.items():
        if not found:
            raise ConfigError(f"study {pattern!r}: there is no such study. {did_you_mean(pattern, known)}")
    out = {name for pattern, found in fits.items() if pattern.startswith("!") for name in found}
    named = [name for pattern, found in fits.items() if not pattern.startswith("!") for name in found]
    return [name for name in dict.fromkeys(named or known) if name not in out]


def needed(name: str, bases: Sequence[str], outputs: Sequence[Path], contents: Contents) -> set[str]:
    """Keys of all results that a study needs, on its own base and on others, with all that these were made from.

    Args:
        name: Of the study.
        bases: Other base experiments under which it is to be kept, too.
        outputs: Folders with ``studies/NAME``: earlier runs, also of the study as it was changed on the command line.
        contents: The store.

    Raises:
        ConfigError: If the study cannot be planned; or if it is a search of which no run is known, for which points
            it chose stands nowhere else.
    """
    folders = [folder for output in outputs for folder in _runs(name, output)]
    keys = {key for folder in folders for key in _recorded(folder)}
    for base in (None, *bases):
        loaded = load(name, base=base)
        if isinstance(loaded.study.search, Grid):
            keys |= _planned(loaded)
        elif not folders:
            where = ", ".join(str(output / "studies" / name) for output in outputs)
            raise ConfigError(
                f"study {name!r}: is a search, and which points it chose is known from its runs only, of which there "
                f"is none in {where}. Say with --output where it ran, or leave it out: '!{name}'."
            )
    return closure(keys, contents)


def closure(keys: Iterable[str], contents: Contents) -> set[str]:
    """Keys with those of all results that they were made from, and of the evaluations of all these."""
    found, new = set[str](), set(keys)
    while new:
        found |= new
        new = {key for one in new if one in contents.by_key for key in contents.by_key[one].inputs} - found
    return found | {entry.key for entry in contents.entries if entry.stage == "evaluate" and set(entry.inputs) & found}


def _planned(loaded: LoadedStudy) -> set[str]:
    """Keys of all stages of a grid."""
    home = Home("gc", Path("nowhere"), None, Meter())
    proposer = loaded.study.search.open(loaded.study.axes, loaded.objectives, home)
    proposals: Iterable[Proposal] = iter(proposer.ask, None)
    found = set()
    for trial in (trial for proposal in proposals for trial in trials(loaded, proposal)):
        for job in jobs(trial):
            own = (job.stage, job.evaluation, job.base_evaluation)
            found |= {each.key for stage in own if stage for each in (*stage.upstream(), stage)}
    return found


def _runs(name: str, output: Path) -> list[Path]:
    """Folders of results of a study: as it is in its file, and as it was changed."""
    parent, _, last = (output / "studies" / name).as_posix().rpartition("/")
    hexadecimal = "[0-9a-f]" * 8
    found = [Path(parent) / last, *sorted(Path(parent).glob(f"{last}-{hexadecimal}"))]
    return [folder for folder in found if (folder / "results.csv").is_file()]


def _recorded(folder: Path) -> set[str]:
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        return {row[column] for row in csv.DictReader(file) for column in KEYS if row.get(column)}
