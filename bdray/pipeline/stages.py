"""The steps of an experiment: pretrain, poison a victim, defend, evaluate.

Each is a pure function of the parts of the experiment that it reads and of its inputs' results. Its key is a hash of
just these, so that stages are shared by all trials, studies and users that agree on them.
"""

import math
import os
import platform
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bdray import config
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.provenance import provenance
from bdray.pipeline.store import Manifest, Store

if TYPE_CHECKING:
    import numpy as np
    import open_clip
    from numpy.typing import NDArray

    from bdray.checkpoint import History
    from bdray.data.base import Pairs, Split
    from bdray.training.session import Session

Report = Callable[[str, Mapping[str, float]], None]
WEIGHTS = "model.safetensors"


def silent(stage: str, metrics: Mapping[str, float]) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Context:
    """Where a stage runs. Nothing in here changes a result."""

    store: Store
    cache: Path
    """Local folder for prepared data, shared by all trials of a node."""
    report: Report = silent
    """Told stage name and metrics of every finished epoch."""
    rank: int = 0
    """This worker's place in its group; only the first writes to the store."""
    world_size: int = 1
    """Workers that compute the stage together."""
    device: str = "cpu"


@dataclass(frozen=True)
class Stage(ABC):
    """One step of an experiment, with a result of its own in the store."""

    experiment: Experiment
    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Counted up whenever the same configuration gives a different result."""

    @abstractmethod
    def reads(self) -> dict[str, Any]:
        """The parts of the experiment that decide the result, apart from the inputs, as plain JSON."""

    @property
    def inputs(self) -> "tuple[Stage, ...]":
        """Stages whose results this one starts from."""
        return ()

    @abstractmethod
    def compute(self, context: Context, folder: Path) -> dict[str, Any]:
        """Do the work.

        Args:
            context: Where to read inputs and how to report.
            folder: Empty; files put here become files of the result.

        Returns:
            What the manifest records: ``metrics``, and ``history`` where the stage trains.
        """

    @cached_property
    def key(self) -> str:
        """Name of the result in the store."""
        inputs = [stage.key for stage in self.inputs]
        return config.fingerprint(
            {"stage": self.name, "version": self.version, "reads": self.reads(), "inputs": inputs}
        )

    def upstream(self) -> "list[Stage]":
        """All stages this one needs, in the order of their making."""
        return [found for stage in self.inputs for found in (*stage.upstream(), stage)]

    def result(self, context: Context) -> Manifest:
        """Read the result from the store, or compute and save it, inputs first."""
        manifest = context.store.find(self.name, self.key)
        if manifest is not None:
            return manifest
        for stage in self.inputs:
            stage.result(context)
        started = time.time()
        with tempfile.TemporaryDirectory(prefix=f"bdray-{self.name}-") as name:
            folder = Path(name)
            found = self.compute(context, folder)
            manifest = {
                "version": self.version,
                "reads": self.reads(),
                "inputs": {stage.name: stage.key for stage in self.inputs},
                "started": started,
                "seconds": time.time() - started,
                "worker": f"{platform.node()}:{os.getpid()}",
                **provenance(),
                **found,
            }
            if context.rank == 0:
                files = {path.name: path for path in sorted(folder.iterdir())}
                manifest = context.store.save(self.name, self.key, manifest, files)
                shutil.rmtree(context.store.workspace(self.name, self.key), ignore_errors=True)
        if context.world_size > 1:  # the other workers must not look for the result before it is there
            import torch.distributed

            torch.distributed.barrier()
        return manifest

    def weights(self, context: Context) -> Path:
        """Local file of the stage's model."""
        return context.store.fetch(self.name, self.key, WEIGHTS)


class TrainingStage(Stage):
    """A stage whose result is a model."""

    @abstractmethod
    def train(self, model: "open_clip.CLIP", session: "Session", context: Context) -> "History":
        """Train ``model`` in place."""

    @property
    @abstractmethod
    def seed(self) -> int:
        """Seed of first weights, data order and augmentations."""

    def compute(self, context: Context, folder: Path) -> dict[str, Any]:
        import torch

        from bdray.models import weights
        from bdray.training.batch_norm import synchronize
        from bdray.training.session import Session

        experiment = self.experiment
        model = experiment.model.build(self.seed)
        source = self.inputs[0].weights(context) if self.inputs else experiment.model.weights
        if source is not None:
            weights.assign(model, weights.load(Path(source)), str(source))
        model = model.to(device=context.device, memory_format=torch.channels_last)
        if context.world_size > 1:
            synchronize(model)
        session = Session(
            tokenizer=experiment.model.tokenizer(),
            seed=self.seed,
            report=lambda metrics: context.report(self.name, metrics),
            evaluate=self._epoch_evaluation(context),
            workspace=context.store.workspace(self.name, self.key),
            cache=context.cache,
            device=torch.device(context.device),
        )
        history = self.train(model, session, context)
        weights.save(model.state_dict(), folder / WEIGHTS)
        return {"metrics": history[-1] if history else {}, "history": history}

    def _epoch_evaluation(self, context: Context) -> "Callable[[open_clip.CLIP], dict[str, float]]":
        count = self.experiment.evaluation.epoch_images
        if count == 0:
            return lambda model: {}
        pairs = self.experiment.data.load("validation", context.cache)
        from bdray.data.base import Pairs

        some = Pairs(pairs.images[:count], pairs.captions[:count], pairs.labels[:count])
        return lambda model: measure(self.experiment, model, some)


class Pretrain(TrainingStage):
    """Train a clean base from random weights."""

    name = "pretrain"

    def reads(self) -> dict[str, Any]:
        return {
            "data": self.experiment.data.fingerprint("train"),
            "model": self.experiment.model.description(),
            "pretrain": config.dump(self.experiment.pretrain),
        }

    @property
    def seed(self) -> int:
        assert self.experiment.pretrain is not None
        return self.experiment.pretrain.seed

    def train(self, model: "open_clip.CLIP", session: "Session", context: Context) -> "History":
        from bdray.objective import ContrastiveObjective

        assert self.experiment.pretrain is not None
        pairs = self.experiment.data.load("train", context.cache)
        return session.train(
            model, ContrastiveObjective(), self.experiment.pretrain.recipe, pairs.images, pairs.captions
        )


class PoisonVictim(TrainingStage):
    """Train on poisoned data."""

    name = "victim"

    def reads(self) -> dict[str, Any]:
        experiment = self.experiment
        return {
            "data": experiment.data.fingerprint("train"),
            "model": {"weights": experiment.model.fingerprint(), **experiment.model.description()},
            "attack": config.dump(experiment.attack),
            "victim": config.dump(experiment.victim),
            "seed": experiment.seed,
        }

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return (Pretrain(self.experiment),) if self.experiment.pretrain is not None else ()

    @property
    def seed(self) -> int:
        return self.experiment.seed

    def train(self, model: "open_clip.CLIP", session: "Session", context: Context) -> "History":
        from bdray.objective import ContrastiveObjective

        pairs = self.experiment.data.load("train", context.cache)
        pairs = subset(pairs, self.experiment.victim.num_samples, self.seed)
        poisoning = self.experiment.attack.poison(len(pairs), self.seed)
        return session.train(
            model,
            ContrastiveObjective(),
            self.experiment.victim.recipe,
            pairs.images,
            pairs.captions,
            poisoning=poisoning,
        )


class Defend(TrainingStage):
    """Repair the victim."""

    name = "defend"

    def reads(self) -> dict[str, Any]:
        return {
            "data": self.experiment.data.fingerprint("finetune"),
            "defense": config.dump(self.experiment.defense),
            "seed": self.experiment.seed,
        }

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return (PoisonVictim(self.experiment),)

    @property
    def seed(self) -> int:
        return self.experiment.seed

    def train(self, model: "open_clip.CLIP", session: "Session", context: Context) -> "History":
        pairs = self.experiment.data.load("finetune", context.cache)
        pairs = subset(pairs, self.experiment.defense.num_samples, self.seed)
        return self.experiment.defense.run(model, pairs, session)


@dataclass(frozen=True)
class Evaluate(Stage):
    """Measure a model on the test split."""

    of: TrainingStage
    split: "Split" = "test"
    name = "evaluate"

    def reads(self) -> dict[str, Any]:
        return {
            "data": self.experiment.data.fingerprint(self.split),
            "trigger": config.dump(self.experiment.attack.trigger),
            "target": self.experiment.attack.target,
            "metrics": [config.dump(metric) for metric in self.experiment.evaluation.metrics],
            "split": self.split,
        }

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return (self.of,)

    def compute(self, context: Context, folder: Path) -> dict[str, Any]:
        from bdray.models import weights

        model = self.experiment.model.build(seed=0)
        path = self.of.weights(context)
        weights.assign(model, weights.load(path), str(path))
        model = model.to(context.device)
        model.eval()
        return {"metrics": measure(self.experiment, model, self.experiment.data.load(self.split, context.cache))}


def measure(experiment: Experiment, model: "open_clip.CLIP", pairs: "Pairs") -> dict[str, float]:
    """All of the experiment's metrics on labeled images."""
    from bdray.evaluation.zero_shot import encode

    features = encode(model, experiment.model.tokenizer(), experiment.data, pairs, experiment.attack)
    numbers: dict[str, float] = {}
    for metric in experiment.evaluation.metrics:
        numbers |= metric.measure(features)
    return {name: value for name, value in numbers.items() if math.isfinite(value)}  # a share of no images is no number


def subset(pairs: "Pairs", count: int | None, seed: int) -> "Pairs":
    """``count`` pairs drawn at random, in their original order; all of them for None."""
    from bdray.data.base import Pairs

    if count is None or count == len(pairs):
        return pairs
    chosen = chosen_samples(len(pairs), count, seed)
    captions: Sequence[str] = [pairs.captions[index] for index in chosen]
    return Pairs(pairs.images[chosen], captions, pairs.labels[chosen])


def chosen_samples(available: int, count: int, seed: int) -> "NDArray[np.int64]":
    """Sorted indices of a random subset, a pure function of its arguments."""
    import numpy as np

    rng = np.random.default_rng([seed, 0x5AB5E7])
    return np.sort(rng.choice(available, size=count, replace=False))
