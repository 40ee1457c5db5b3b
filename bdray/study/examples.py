"""Pictures of what the study's triggers do, from the store into the folder of results."""

import logging
import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bdray import config
from bdray.exceptions import StoreError
from bdray.pipeline.stages.base import Stage
from bdray.pipeline.stages.evaluate import EXAMPLES, Evaluate
from bdray.pipeline.stages.trigger import trigger_stage
from bdray.pipeline.store import Store
from bdray.report import study as study_file
from bdray.study.plan import Result
from bdray.study.space import AFTER_VICTIM, Axis, Point, place, show
from bdray.study.spec import LoadedStudy, Trial

_log = logging.getLogger(__name__)

FOLDER = "examples"
"""Of the pictures, in the folder of results."""
AFTER_TRIGGER = {"victim", *AFTER_VICTIM}
"""Parts of an experiment that no trigger depends on."""


@dataclass
class Examples:
    """One picture for every distinct trigger, whichever of its evaluations comes first: they all drew the same."""

    folder: Path
    """The folder of results."""
    loaded: LoadedStudy
    store: Store
    _triggers: dict[str, str] = field(default_factory=dict)
    """Type of the trigger by name of the picture."""
    _points: dict[str, list[Point]] = field(default_factory=dict)
    """Points whose attack has the trigger."""

    def add(self, trial: Trial, result: Result) -> None:
        """Note a finished trial or its victim; copy the picture if it shows a new trigger."""
        evaluation = result.job.evaluation
        if evaluation is None:
            return
        name = _name(evaluation)
        if name not in self._triggers:
            self._triggers[name] = trial.experiment.attack.trigger.type
            # A study ends with its numbers also without a picture; the report says that it is missing.
            copy_file(self.store, evaluation, EXAMPLES, self.folder / FOLDER / name)
        points = self._points.setdefault(name, [])
        if trial.point not in points:
            points.append(trial.point)

    def listing(self) -> list[study_file.Example]:
        """The pictures in the order of the axes, whatever became of their copies."""
        axes = self.loaded.study.axes
        first = {name: min(place(axes, point) for point in points) for name, points in self._points.items()}
        return [
            study_file.Example(label=self._label(name), file=f"{FOLDER}/{name}")
            for name in sorted(self._triggers, key=lambda name: (first[name], name))
        ]

    def _label(self, name: str) -> str:
        """The values that choose the trigger: of an axis whose other values have other triggers, or none so far."""
        words = []
        for path, axis in self.loaded.study.axes.items():
            if self.loaded.turns(path) <= AFTER_TRIGGER:
                continue
            own = {point[path] for point in self._points[name] if path in point}
            every = [point for points in self._points.values() for point in points]
            if own and own != {point[path] for point in every if path in point} | set(axis.choices):
                words.append(_show(path, axis, sorted(own, key=axis.place)))
        return "; ".join(words) or self._triggers[name]


def copy_file(store: Store, stage: Stage, name: str, path: Path) -> bool:
    """Copy a file of a stage's result, whole or not at all. Returns whether it is there."""
    partial = path.with_suffix(".partial")
    try:
        source = store.fetch(stage.name, stage.key, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, partial)
        os.replace(partial, path)
    except StoreError:
        return False
    except OSError as error:  # such as a full disk: the next run of the study copies it
        with suppress(OSError):
            partial.unlink()
        _log.warning("%s cannot be written: %s", path, error)
        return False
    return True


def _name(evaluation: Evaluate) -> str:
    """The same for all evaluations that draw the same: ``badnet-1f89bac7.png``."""
    reads = evaluation.reads()
    learned = [stage.key for stage in trigger_stage(evaluation.experiment)]
    identity = config.fingerprint({"data": reads["data"], "trigger": reads["trigger"], "learned": learned})
    kind = re.sub(r"\W", "_", evaluation.experiment.attack.trigger.type)
    return f"{kind}-{identity[:8]}.png"


def _show(path: str, axis: Axis, values: list[Any]) -> str:
    """``BadNet``; values that are no names need the axis's: ``size = 4, 6``."""
    shown = ", ".join(axis.names.get(show(value), show(value)) for value in values)
    return shown if all(isinstance(value, str) for value in values) else f"{axis.name(path)} = {shown}"
