"""Learning a trigger, where it has to be learned."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdray.attacks.triggers.learned import LearnedTrigger, Lesson
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages.base import Context, EpochStage, Stage
from bdray.pipeline.stages.measure import load_model
from bdray.pipeline.stages.pretrain import base_of

if TYPE_CHECKING:
    from bdray.attacks.triggers.base import Trigger

TRIGGER = "trigger.safetensors"


class LearnTrigger(EpochStage):
    """Learn a trigger from the clean training split, once for all seeds."""

    name = "trigger"

    @property
    def _learned(self) -> LearnedTrigger:
        trigger = self.experiment.attack.trigger
        assert isinstance(trigger, LearnedTrigger)
        return trigger

    def reads(self) -> dict[str, Any]:
        experiment = self.experiment
        model = experiment.model.identity()
        return {
            "data": experiment.data.fingerprint("train"),
            "trigger": self._learned.identity(),
            "target": experiment.attack.target,
            "model": model if self._learned.needs_model else None,
        }

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return base_of(self.experiment) if self._learned.needs_model else ()

    @property
    def epochs(self) -> int:
        return self._learned.epochs

    @property
    def images(self) -> int:
        available = self.experiment.data.size("train")
        return min(self._learned.num_samples or available, available) * self.epochs

    def compute(self, context: Context, folder: Path) -> dict[str, Any]:
        import torch

        from bdray.checkpoint import Checkpointer
        from bdray.models import weights

        experiment, device = self.experiment, torch.device(context.device)
        pairs = experiment.data.load("train", context.cache)
        model = None
        if self._learned.needs_model:
            start = next(iter(base_of(experiment)), None)
            source = start.weights(context) if start else experiment.model.first_weights()
            assert source is not None, "the experiment was checked"
            model = load_model(experiment, source, context.device).requires_grad_(False)
        workspace = context.store.workspace(self.name, self.key)
        state, history = self._learned.learn(
            Lesson(
                images=pairs.images,
                captions=pairs.captions,
                is_target=experiment.attack.names_target(pairs.captions),
                target=experiment.attack.target,
                device=device,
                model=model,
                tokenizer=experiment.model.tokenizer(),
                report=lambda metrics: context.report(self.name, metrics),
                checkpointer=Checkpointer(workspace / "learn", context.store.copies) if context.rank == 0 else None,
            )
        )
        weights.save(state, folder / TRIGGER)
        return {"metrics": history[-1] if history else {}, "history": history}

    def load(self, context: Context) -> LearnedTrigger:
        """The trigger, ready to be applied."""
        from bdray.models import weights

        return self._learned.with_state(weights.load(context.store.fetch(self.name, self.key, TRIGGER)))


def trigger_stage(experiment: Experiment) -> tuple[LearnTrigger, ...]:
    """The stage that learns the experiment's trigger, if it has to be learned."""
    return (LearnTrigger(experiment),) if isinstance(experiment.attack.trigger, LearnedTrigger) else ()


def ready_trigger(experiment: Experiment, context: Context) -> "Trigger":
    """The experiment's trigger, ready to be applied."""
    return next((stage.load(context) for stage in trigger_stage(experiment)), experiment.attack.trigger)
