"""Maps of image features that evaluations left, from the store into the folder of results."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from bdray import config
from bdray.pipeline.store import Store
from bdray.report import study as study_file
from bdray.study.examples import copy_file
from bdray.study.plan import Result
from bdray.study.space import Point, place, show
from bdray.study.spec import LoadedStudy, Trial

FOLDER = "embeddings"
"""Of the copies, in the folder of results."""
EMBEDDING = "embedding.csv"
"""File of an evaluation; ``bdray.evaluation.metrics.embedding_map`` writes it."""
MAX_NAME = 60
"""Characters of a file's name that come from the values of the axes."""


@dataclass
class Embeddings:
    """One file for every point, and one for every kind of victim: of the lowest seed, whichever ends first."""

    folder: Path
    """The folder of results."""
    loaded: LoadedStudy
    store: Store
    _found: dict[str, tuple[bool, Point, int, str]] = field(default_factory=dict)
    """Whether it is a victim, point, seed and key of the model by name of the copy."""

    def add(self, trial: Trial, result: Result, *, is_victim: bool = False) -> None:
        """Note a finished trial or its victim; copy its file if there is none yet of a seed as low."""
        evaluation, seed = result.job.evaluation, result.job.stage.experiment.seed
        if evaluation is None or not any(
            EMBEDDING in metric.files for metric in evaluation.experiment.evaluation.metrics
        ):
            return
        point = trial.victim_point if is_victim else trial.point
        name = _name(point, is_victim=is_victim)
        if name in self._found and self._found[name][2] <= seed:
            return
        self._found[name] = is_victim, point, seed, result.job.key
        path = self.folder / FOLDER / name
        # Without a copy, the report says that it is missing; another seed's must not stand in for it.
        if not copy_file(self.store, evaluation, EMBEDDING, path):
            path.unlink(missing_ok=True)

    def listing(self) -> list[study_file.Embedding]:
        """Victims first, then the order of the axes, whatever became of the copies."""
        axes = self.loaded.study.axes
        trials = {key for is_victim, _, _, key in self._found.values() if not is_victim}
        ordered = sorted(self._found.items(), key=lambda item: (not item[1][0], place(axes, item[1][1])))
        return [
            study_file.Embedding(label=self._label(point, is_victim=is_victim), seed=seed, file=f"{FOLDER}/{name}")
            for name, (is_victim, point, seed, key) in ordered
            if not is_victim or key not in trials  # a victim that is itself a point of the study needs no second map
        ]

    def _label(self, point: Point, *, is_victim: bool) -> str:
        """``BadNet, λ₂ = 1``, or ``victim, BadNet``."""
        words = ["victim"] if is_victim else []
        for path, value in point.items():
            axis = self.loaded.study.axes[path]
            name = axis.names.get(show(value))
            if isinstance(value, str):
                words.append(name or value)
            else:
                words.append(f"{axis.name(path)} = {show(value)}" + (f" ({name})" if name else ""))
        return ", ".join(words) or "trial"


def _name(point: Point, *, is_victim: bool) -> str:
    """Readable and of its point alone: ``BadNet-1f89bac7.csv``."""
    words = "-".join(re.sub(r"\W", "_", show(value), flags=re.ASCII) for value in point.values())
    kind = "victim" if is_victim else "trial"
    return f"{kind}-{words[:MAX_NAME] or 'only'}-{config.fingerprint([kind, dict(point)])[:8]}.csv"
