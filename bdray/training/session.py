"""Everything a stage needs in order to train: device, workers, reporting, checkpoints, evaluation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import open_clip
import torch
import torch.distributed
from torch import Tensor, nn

from bdray.attacks.poisoning import Poisoning
from bdray.checkpoint import Checkpointer, Copies, History
from bdray.data.base import Images
from bdray.models.execution import Execution
from bdray.models.tokenizer import Tokenizer
from bdray.objective import Objective, SupervisedObjective
from bdray.text.base import TextAugmentation
from bdray.training.captions import caption_tokens
from bdray.training.feed import Feed
from bdray.training.loop import train
from bdray.training.optim import Recipe
from bdray.training.sub_captions import SubCaptionSource
from bdray.training.views import Policy


def _silent(metrics: Mapping[str, float]) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Session:
    """One stage's training on one worker. A defense calls :meth:`train` once for each of its phases."""

    tokenizer: Tokenizer
    seed: int
    """Seed of data order and augmentations."""
    report: Callable[[Mapping[str, float]], None] = _silent
    """Told of every finished epoch."""
    evaluate: Callable[[open_clip.CLIP, nn.Linear | None], dict[str, float]] = field(default=lambda model, head: {})
    """Cheap evaluation after every epoch, on every worker; a linear head, if there is one, takes the place of the
    classes' names."""
    workspace: Path | None = None
    """Folder for the state of an unfinished training; None keeps nothing."""
    copies: Copies | None = None
    """Where the state is kept besides, if only this machine sees the folder."""
    cache: Path | None = None
    """Folder in which the trials of a node share prepared data."""
    folder: Path | None = None
    """Files that are put here become files of the stage's result; None drops them."""
    device: torch.device = torch.device("cpu")
    execution: Execution = Execution()
    """How towers are computed."""
    checkpoint_minutes: float | None = None
    """How often the state is kept within epochs; None: after epochs only."""

    def tokens(
        self, captions: Sequence[str], poisoning: Poisoning | None, augmentation: TextAugmentation | None = None
    ) -> Tensor:
        """Token ids of captions as they are trained on, or of their second views, shared with other trials.

        Args:
            captions: N clean ones.
            poisoning: What the attacker changed.
            augmentation: Makes second views.

        Returns:
            int32 [N, L].
        """
        return caption_tokens(
            captions,
            self.tokenizer,
            augmentation=augmentation,
            seed=self.seed,
            poisoning=poisoning,
            folder=self.cache,
        )

    def train(
        self,
        model: open_clip.CLIP,
        objective: Objective,
        recipe: Recipe,
        images: Images,
        captions: Sequence[str] | Tensor,
        *,
        text_augmentation: TextAugmentation | None = None,
        image_augmentation: Policy = "autoaugment",
        poisoning: Poisoning | None = None,
        sub_captions: SubCaptionSource | None = None,
        phase: str = "train",
        after: History | None = None,
    ) -> History:
        """Train ``model`` in place on image-text pairs and return the metrics of all epochs.

        Args:
            model: On the session's device.
            objective: What is minimized.
            recipe: Optimizer and schedule.
            images: uint8 [N, 3, H, W].
            captions: N clean captions, or token ids, integers [N, L].
            text_augmentation: Makes the captions' second views, once for the whole training as in CleanCLIP's
                public code (src/data.py:36-37); needed if the objective wants views.
            image_augmentation: Makes the images' second views, anew in every epoch.
            poisoning: What the attacker changed, if the data are the attacker's.
            sub_captions: Adds batches of samples with sub-captions in between the others. Not for poisoned data.
            phase: Name of the checkpoint; differs between the phases of one stage.
            after: Metrics of the phases before this one, whose epochs are counted on.

        Returns:
            The metrics of all epochs, those of ``after`` first.
        """
        assert poisoning is None or sub_captions is None
        if isinstance(captions, Tensor):
            assert poisoning is None and not objective.needs_views, "tokens are neither poisoned nor augmented"
            tokens, augmented = captions, None
        else:
            tokens, augmented = self.tokens(captions, poisoning), None
            if objective.needs_views:
                assert text_augmentation is not None
                augmented = self.tokens(captions, poisoning, text_augmentation)
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        feed = Feed(
            images=images,
            tokens=tokens,
            augmented_tokens=augmented,
            image_augmentation=image_augmentation,
            augments_on_device=self.execution.augmentation == "device",
            batch_size=recipe.batch_size,
            seed=self.seed,
            poisoning=poisoning,
            sub_captions=sub_captions,
            cache=self.cache,
            rank=torch.distributed.get_rank() if distributed else 0,
            world_size=torch.distributed.get_world_size() if distributed else 1,
            device=self.device,
            loader_processes=self.execution.loader_processes,
        )
        checkpointer = None
        if self.workspace is not None:
            checkpointer = Checkpointer(self.workspace / phase, self.copies, alone=not distributed)
        past = after or []
        head = objective.head if isinstance(objective, SupervisedObjective) else None
        return past + train(
            model,
            objective,
            feed,
            recipe,
            report=self.report,
            first_epoch=len(past),
            checkpointer=checkpointer,
            evaluate=lambda: self.evaluate(model, head),
            execution=self.execution,
            checkpoint_minutes=self.checkpoint_minutes,
        )
