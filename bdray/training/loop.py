"""The training loop of every stage. It does not know how it was launched."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping

import open_clip
import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bdray.checkpoint import Checkpointer, History, Position, Unfinished
from bdray.exceptions import TrainingError
from bdray.models.clip import MAX_LOGIT_SCALE
from bdray.models.execution import Execution
from bdray.models.towers import Towers
from bdray.objective import Batch, Objective, StatefulObjective, TrainingModule
from bdray.training.feed import Feed
from bdray.training.optim import Recipe

RESUMED = "resumed"
"""Marks the metrics of an epoch that was trained before an interruption."""


def train(
    model: open_clip.CLIP,
    objective: Objective,
    feed: Feed,
    recipe: Recipe,
    *,
    report: Callable[[Mapping[str, float]], None],
    checkpointer: Checkpointer | None = None,
    evaluate: Callable[[], dict[str, float]] = dict,
    first_epoch: int = 0,
    execution: Execution | None = None,
    checkpoint_minutes: float | None = None,
) -> History:
    """Train ``model`` in place, continuing from the latest checkpoint if there is one.

    Args:
        model: On the feed's device. In a process group every worker passes a replica.
        objective: What is minimized.
        feed: Batches.
        recipe: Optimizer and schedule.
        report: Told the metrics of every finished epoch, on every worker, with values already reduced. Those before an
            interruption come once more, marked with ``RESUMED``.
        checkpointer: Where the state is kept after every epoch; None keeps nothing.
        evaluate: Called after every epoch, on every worker, with the model in eval mode; gives all the same numbers.
        first_epoch: Epochs of earlier phases, by which the reported numbers of epochs are moved.
        execution: How the towers are computed; by default plainly.
        checkpoint_minutes: The state is also kept within epochs, after the first step that ends so long after it was
            last kept; None: after epochs only. The trained model is the same.

    Returns:
        The metrics of all epochs, those before an interruption included.

    Raises:
        TrainingError: If the loss is no longer finite.
    """
    run = _Run(model, objective, feed, recipe, execution or Execution(), checkpointer, checkpoint_minutes)
    history = run.history
    for past in history:  # whoever listened may have died before it noted the latest
        report({**past, RESUMED: 1.0})
    for epoch in range(len(history), recipe.epochs):
        metrics = run.epoch()
        model.eval()
        history.append({"epoch": first_epoch + epoch + 1.0, **metrics, **evaluate()})
        run.save()
        report(history[-1])
    model.eval()
    if not all(bool(parameter.isfinite().all()) for parameter in run.parameters):
        raise TrainingError(
            "the weights are not finite after the last step. Lower the learning rate or clip the gradient."
        )
    return history


def _distributed(module: TrainingModule) -> DistributedDataParallel:
    """The replicas of all workers as one; their buffers follow from what was gathered, so they are never sent."""
    parallel = DistributedDataParallel(module)
    parallel.broadcast_buffers = False  # as an argument it is deprecated, and its successor is newer than torch 2.9
    return parallel


class _Run:
    """One training on one worker."""

    history: History
    """Of the finished epochs."""
    parameters: tuple[nn.Parameter, ...]
    """Of the model and of the objective, which may have a head."""

    def __init__(
        self,
        model: open_clip.CLIP,
        objective: Objective,
        feed: Feed,
        recipe: Recipe,
        execution: Execution,
        checkpointer: Checkpointer | None,
        checkpoint_minutes: float | None,
    ) -> None:
        """Restore the latest state and get ready; arguments as those of :func:`train`."""
        self.model, self.objective, self.feed, self.recipe = model, objective, feed, recipe
        self._checkpointer, self._minutes = checkpointer, checkpoint_minutes
        self._remembering = objective if isinstance(objective, StatefulObjective) else None
        module = TrainingModule(model, objective, Towers(model, execution, trains=True))
        self.parameters = tuple(module.parameters())
        self._optimizer = recipe.optimizer(module)
        # Keeps the small gradients of float16 from becoming zero; does nothing in other types.
        self._scaler = torch.amp.GradScaler(feed.device.type, enabled=execution.precision == "fp16")
        found = Position()
        if checkpointer is not None:
            found = checkpointer.resume(model, self._optimizer, self._remembering, scaler=self._scaler)
        self.history, self._unfinished = found.history, found.unfinished
        self._forward = _distributed(module) if feed.world_size > 1 else module
        self._saved = time.monotonic()

    def save(self, unfinished: Unfinished | None = None) -> None:
        """Keep the state, if this worker is the one that does."""
        self._saved = time.monotonic()
        if self._checkpointer is not None and self.feed.rank == 0:
            state = self.model, self._optimizer, self.history, self._remembering
            self._checkpointer.save(*state, unfinished=unfinished, scaler=self._scaler)

    @property
    def _is_time_to_save(self) -> bool:
        return self._minutes is not None and time.monotonic() - self._saved >= 60 * self._minutes

    def epoch(self) -> dict[str, float]:
        """Train for an epoch, or for the rest of one, and return the means of its losses.

        Nothing in here waits for a GPU: losses are summed where they are, and read in the end.
        """
        epoch, done, self._unfinished = len(self.history), self._unfinished or Unfinished(0, {}, {}, 0.0), None
        started = time.perf_counter() - done.seconds
        if self._remembering is not None:
            self._remembering.start_epoch(self.model, epoch, done.step)
        self.model.train()
        sums = {name: value.to(self.feed.device) for name, value in done.sums.items()}
        counts = Counter(done.counts)  # some terms are of some batches only
        last = self.feed.steps_per_epoch - 1
        batches = self.feed.epoch(epoch, views=self.objective.needs_views, first=done.step)
        for step, batch in enumerate(batches, done.step):
            rate = self.recipe.rate(epoch * self.feed.steps_per_epoch + step, self.feed.steps_per_epoch)
            for name, term in self._step(batch, rate).items():
                sums[name] = sums.get(name, 0) + term
                counts[name] += 1
            if step < last and self._is_time_to_save:
                self.save(Unfinished(step + 1, sums, counts, time.perf_counter() - started))
        metrics = {name: value.item() / counts[name] for name, value in sums.items()}
        if not all(map(math.isfinite, metrics.values())):
            raise TrainingError(
                f"the loss is not finite in epoch {epoch + 1}: {metrics}. Lower the learning rate or clip the gradient."
            )
        return {**metrics, "train_seconds": time.perf_counter() - started}

    def _step(self, batch: Batch, rate: float) -> dict[str, Tensor]:
        """One step of the optimizer; returns the losses by name."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        total, terms = self._forward(batch)
        self._scaler.scale(total).backward()
        if self.recipe.gradient_clip is not None:
            self._scaler.unscale_(self._optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        return {"loss": total.detach(), **terms}
