"""Similarities of all pairs that defenses trained on, from the store into the folder of results."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from bdray import config
from bdray.pipeline.store import Store
from bdray.report import study as study_file
from bdray.report.similarities import MAX_BYTES
from bdray.study.examples import copy_file
from bdray.study.plan import Result
from bdray.study.space import Point, place, show
from bdray.study.spec import LoadedStudy, Trial

FOLDER = "similarities"
"""Of the copies, in the folder of results."""
SIMILARITIES = "similarities.csv"
"""File of a defense's result; ``bdray.evaluation.detection`` writes it, and needs torch to be imported."""
MAX_NAME = 60
"""Characters of a file's name that come from the values of the axes."""


@dataclass
class Similarities:
    """One file for every point whose defense left one: of the lowest seed, whichever trial ends first."""

    folder: Path
    """The folder of results."""
    loaded: LoadedStudy
    store: Store
    _found: dict[str, tuple[Point, int]] = field(default_factory=dict)
    """Point and seed by name of the copy."""

    def add(self, trial: Trial, result: Result) -> None:
        """Note a finished trial; copy its file if there is none yet of a seed as low."""
        stage = result.job.stage
        entry, seed = result.model["files"].get(SIMILARITIES), stage.experiment.seed
        name = _name(trial)
        if entry is None or (name in self._found and self._found[name][1] <= seed):
            return
        self._found[name] = trial.point, seed
        path = self.folder / FOLDER / name
        # Without a copy, the report says that it is missing; another seed's must not stand in for it.
        if entry["bytes"] > MAX_BYTES or not copy_file(self.store, stage, SIMILARITIES, path):
            path.unlink(missing_ok=True)

    def listing(self) -> list[study_file.Similarities]:
        """The files in the order of the axes, whatever became of their copies."""
        axes = self.loaded.study.axes
        ordered = sorted(self._found.items(), key=lambda item: place(axes, item[1][0]))
        return [
            study_file.Similarities(point=dict(point), seed=seed, file=f"{FOLDER}/{name}")
            for name, (point, seed) in ordered
        ]


def _name(trial: Trial) -> str:
    """Readable and of its point alone: ``BadNet-UBT-1f89bac7.csv``."""
    words = "-".join(re.sub(r"\W", "_", show(value), flags=re.ASCII) for value in trial.point.values())
    return f"{words[:MAX_NAME] or 'trial'}-{config.fingerprint(dict(trial.point))[:8]}.csv"
