"""The training loop of every stage. It does not know how it was launched."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping

import open_clip
import torch
import torch.distributed
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from bdray.checkpoint import Checkpointer, History
from bdray.exceptions import TrainingError
from bdray.models.clip import MAX_LOGIT_SCALE
from bdray.objective import Objective, StatefulObjective, TrainingModule
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
        first_epoch: Epochs of earlier phases, by which the reported numbers of epochs are moved.
        evaluate: Called after every epoch, on the first worker only, with the model in eval mode.

    Returns:
        The metrics of all epochs, those before an interruption included.

    Raises:
        TrainingError: If the loss is no longer finite.
    """
    is_first = feed.rank == 0
    module = TrainingModule(model, objective)
    optimizer = recipe.optimizer(module)
    remembering = objective if isinstance(objective, StatefulObjective) else None
    history = checkpointer.load(model, optimizer, remembering) if checkpointer else []
    for past in history:  # whoever listened may have died before it noted the latest
        report({**past, RESUMED: 1.0})
    forward = DistributedDataParallel(module) if feed.world_size > 1 else module
    for epoch in range(len(history), recipe.epochs):
        started = time.perf_counter()
        if remembering:
            remembering.start_epoch(model, epoch)
        model.train()
        sums: dict[str, Tensor] = {}
        steps: Counter[str] = Counter()  # some terms are of some batches only
        for index, batch in enumerate(feed.epoch(epoch, views=objective.needs_views)):
            rate = recipe.rate(epoch * feed.steps_per_epoch + index, feed.steps_per_epoch)
            for group in optimizer.param_groups:
                group["lr"] = rate
            total, terms = forward(batch)
            total.backward()
            if recipe.gradient_clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
            for name, term in {"loss": total.detach(), **terms}.items():
                sums[name] = sums.get(name, 0) + term
                steps[name] += 1
        metrics = {name: value.item() / steps[name] for name, value in sums.items()}
        if not all(map(math.isfinite, metrics.values())):
            raise TrainingError(
                f"the loss is not finite in epoch {epoch + 1}: {metrics}. Lower the learning rate or clip the gradient."
            )
        metrics["train_seconds"] = time.perf_counter() - started
        if is_first:
            model.eval()
            metrics |= evaluate()
        history.append({"epoch": first_epoch + epoch + 1.0, **metrics})
        if checkpointer and is_first:
            checkpointer.save(model, optimizer, history, remembering)
        report(history[-1])
    model.eval()
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise TrainingError(
            "the weights are not finite after the last step. Lower the learning rate or clip the gradient."
        )
    return history
