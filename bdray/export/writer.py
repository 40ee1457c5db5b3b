"""Writing an exported set: images first, the index last."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bdray import config
from bdray.exceptions import DataError
from bdray.export.captions import write_rows
from bdray.export.contents import Contents, decided, with_state_of
from bdray.export.folder import CAPTIONS, INDEX, claim, release, sha256, whole
from bdray.export.images import pixel_hash, read_png, to_png
from bdray.export.index import Index, identity, read_index
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages.base import Context
from bdray.pipeline.stages.trigger import TRIGGER, trigger_stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Progress = Callable[[int, int], None]
"""Told how many images are done, of how many."""
Check = Callable[[str, str], None]
"""Told the name of a file and its hash (of an image, that of its pixels) before the index is written; raises if it is
not what it should be."""


def silent(done: int, total: int) -> None:
    """Report to nobody."""


def anything(name: str, found: str) -> None:
    """Expect nothing in particular."""


def write(
    experiment: Experiment,
    folder: Path,
    context: Context,
    *,
    only_poisoned: bool = False,
    progress: Progress = silent,
) -> Index:
    """Export the training set of an experiment's victim, or finish an export that was interrupted.

    Args:
        experiment: If its trigger has to be learned, it is taken from the context's store, or learned and put there.
        folder: New or empty, or that of an earlier export of the same set. A finished one is left as it is.
        context: Where data and store are.
        only_poisoned: Leave out the clean samples.
        progress: Told of every image.

    Raises:
        ConfigError: If the experiment cannot be run.
        DataError: If the folder holds anything else, or cannot be written.
    """
    experiment.check(context.cache)
    finished = begin(folder, experiment, only_poisoned=only_poisoned)
    if finished is not None:
        return finished
    contents = Contents(experiment, decided(experiment, context.cache), only_poisoned)
    return fill(folder, contents, learned_file(experiment, context), progress=progress)


def begin(folder: Path, experiment: Experiment, *, only_poisoned: bool) -> Index | None:
    """Claim a folder, or return the index of a finished export of the same set that is in it.

    Raises:
        DataError: If the folder holds something else.
    """
    trigger, fingerprint = experiment.attack.trigger.identity(), experiment.data.fingerprint("train")
    wanted = identity(config.dump(experiment), trigger, fingerprint, only_poisoned=only_poisoned)
    if not (folder / INDEX).exists():
        claim(folder, wanted)
        return None
    found = read_index(folder)
    if found.identity != wanted:
        raise DataError(f"{folder}: holds the export of another set. Give another folder.")
    release(folder)
    return found


def learned_file(experiment: Experiment, context: Context) -> Path | None:
    """File of the learned trigger in the store, learned now if it is not there; None if there is nothing to learn."""
    for stage in trigger_stage(experiment):
        context.store.check_writable()
        stage.result(context)
        return context.store.fetch(stage.name, stage.key, TRIGGER)
    return None


def fill(
    folder: Path, contents: Contents, trigger_file: Path | None, *, check: Check = anything, progress: Progress = silent
) -> Index:
    """Write everything that is not there yet into a folder that was claimed."""
    names, hashes = contents.image_names, dict[str, str]()
    trigger = with_state_of(contents.experiment.attack.trigger, trigger_file)
    for name, pixels in zip(names, contents.images(trigger), strict=True):
        hashes[name] = pixel_hash(pixels)
        check(name, hashes[name])
        if not _is_there(folder / name, pixels):
            with whole(folder / name) as path:
                path.write_bytes(to_png(pixels))
        progress(len(hashes), len(names))
    others: dict[str, str] = {}
    with whole(folder / CAPTIONS) as path:
        write_rows(path, contents.rows())
        others[CAPTIONS] = sha256(path)
    if trigger_file is not None:
        with whole(folder / TRIGGER) as path:
            shutil.copyfile(trigger_file, path)
            others[TRIGGER] = sha256(path)
    for name, found in others.items():
        check(name, found)
    index = contents.index(hashes, others[CAPTIONS], others.get(TRIGGER))
    index.write(folder)
    release(folder)
    return index


def _is_there(path: Path, pixels: "NDArray[np.uint8]") -> bool:
    """Whether an interrupted export wrote this image already."""
    import numpy as np

    if not path.exists():
        return False
    try:
        return np.array_equal(read_png(path, pixels.shape[-1]), pixels)
    except DataError:
        return False
