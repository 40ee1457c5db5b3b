"""Making an exported set again from its index, and proving that it is the same."""

from pathlib import Path

from bdray import config
from bdray.attacks.triggers.learned import LearnedTrigger
from bdray.exceptions import DataError
from bdray.export.captions import show
from bdray.export.contents import Contents, decided, software, with_state_of
from bdray.export.folder import CAPTIONS, INDEX, plain_file, sha256
from bdray.export.index import Index, read_index
from bdray.export.reader import verify
from bdray.export.writer import Progress, begin, fill, learned_file, silent
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages.base import Context
from bdray.pipeline.stages.trigger import TRIGGER


def reproduce(source: Path, folder: Path, context: Context, *, progress: Progress = silent) -> Index:
    """Make the set of an index again, in another folder, and compare everything.

    The data set is prepared anew and the attacker decides anew. What a learned trigger has learned is taken from the
    file beside the index; if there is none, from the context's store, or it is learned again.

    Args:
        source: The index, or the folder that holds it.
        folder: New or empty, or that of an earlier reproduction of the same set.
        context: Where data and store are.
        progress: Told of every image.

    Raises:
        ConfigError: If the experiment of the index cannot be run here.
        DataError: If anything differs from what the index says. The sample is named.
    """
    source = source / INDEX if source.is_dir() else source
    if folder.resolve() == source.parent.resolve():
        raise DataError(f"{folder}: holds the index itself. Give another folder, or check this one with --verify.")
    index = read_index(source.parent, source.name)
    experiment = config.build(Experiment, index.experiment, f"{source}: experiment")
    _compare_settings(experiment, index, source)
    contents = Contents(experiment, decided(experiment, context.cache), index.only_poisoned)
    _compare_decisions(contents, index, source)
    expected = {**index.images, CAPTIONS: index.captions_sha256, TRIGGER: index.trigger_sha256}

    def check(name: str, found: str) -> None:
        if found != expected[name]:
            raise _differs(index, source, _sample_of(name), f"{name} has another hash than the index says")

    finished = begin(folder, experiment, only_poisoned=index.only_poisoned)
    if finished is None:
        trigger_file = _trigger_file(experiment, index, source, context)
        return fill(folder, contents, trigger_file, check=check, progress=progress)
    verify(folder, progress=progress)
    for name, found in {**finished.images, CAPTIONS: finished.captions_sha256}.items():
        check(name, found)
    return finished


def _compare_settings(experiment: Experiment, index: Index, source: Path) -> None:
    """Refuse an index whose experiment gives another data set or trigger here; nothing is loaded."""
    trigger = experiment.attack.trigger
    trigger.check(experiment.data.image_size)
    here = {
        "seed": experiment.seed,
        "data_fingerprint": experiment.data.fingerprint("train"),
        "image_size": experiment.data.image_size,
        "trigger": trigger.identity(),
    }
    for name, value in here.items():
        if getattr(index, name) != value:
            said = show(str(getattr(index, name)))
            raise _differs(index, source, None, f"{name} is {said} in the index, and {show(str(value))} here")
    if isinstance(trigger, LearnedTrigger) != (index.trigger_sha256 is not None):
        raise DataError(f"{source}: trigger_sha256: must be there if and only if the trigger is a learned one.")


def _compare_decisions(contents: Contents, index: Index, source: Path) -> None:
    """Refuse an index that does not say what experiment and seed decide."""
    here, said = ({found.sample: found for found in made} for made in (contents.poisoned(), index.poisoned))
    for sample in sorted(here.keys() | said.keys()):
        if here.get(sample) != said.get(sample):
            decision = here.get(sample, "that it is clean")
            problem = f"the index says {said.get(sample, 'that it is clean')}, but experiment and seed say {decision}"
            raise _differs(index, source, sample, problem)
    names = contents.image_names
    if names != list(index.images) or len(contents.given.pairs) != index.num_samples:
        other = next(iter(sorted(index.images.keys() ^ set(names))), None)
        problem = "the training set of the index is not that of its experiment"
        raise _differs(index, source, None if other is None else _sample_of(other), problem)


def _trigger_file(experiment: Experiment, index: Index, source: Path, context: Context) -> Path | None:
    """File of what the trigger has learned, the same as when the index was made."""
    trigger = experiment.attack.trigger
    if not isinstance(trigger, LearnedTrigger):
        return None
    if (source.parent / TRIGGER).exists():
        beside = plain_file(source.parent, TRIGGER)
        if sha256(beside) != index.trigger_sha256:
            raise DataError(f"{beside}: was changed: its hash is not that of the index. Copy it again.")
        _try_on(trigger, beside, index.image_size)
        return beside
    experiment.check(context.cache)
    learned = learned_file(experiment, context)
    if learned is None or sha256(learned) != index.trigger_sha256:
        problem = f"the trigger that was learned here is another one. Put {TRIGGER} of the export beside the index"
        raise _differs(index, source, None, problem)
    return learned


def _try_on(trigger: LearnedTrigger, file: Path, image_size: int) -> None:
    """Refuse tensors that are not what the trigger needs."""
    import torch

    try:
        with_state_of(trigger, file).apply(torch.zeros(1, 3, image_size, image_size), torch.tensor([0]))
    except (LookupError, RuntimeError, ValueError, TypeError) as error:
        raise DataError(f"{file}: does not fit a trigger of type {trigger.type} ({error}). Copy it again.") from error


def _differs(index: Index, source: Path, sample: int | None, problem: str) -> DataError:
    """The error for a difference, with what may explain it."""
    here, there = config.flatten(software()), config.flatten(index.software)
    others = [f"{name} {show(str(there.get(name)))} there, {here[name]!r} here" for name in here]
    others = [words for name, words in zip(here, others, strict=True) if there.get(name) != here[name]]
    reason = "; ".join(others) if others else "none, so the index was changed"
    where = "" if sample is None else f"sample {sample}: "
    return DataError(f"{source}: {where}{problem}. Differences in software: {reason}.")


def _sample_of(name: str) -> int | None:
    """The sample whose image this is."""
    stem = Path(name).stem
    return int(stem) if stem.isdigit() else None
