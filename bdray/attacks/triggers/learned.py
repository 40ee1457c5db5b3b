"""Triggers that have to be learned from the attacker's data before they can be applied.

The pipeline learns such a trigger once, in a stage of its own, keeps its tensors in the store and hands
:meth:`LearnedTrigger.with_state` to everything downstream.
"""

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from bdray.attacks.triggers.base import Trigger
from bdray.data.base import Images
from bdray.exceptions import TrainingError
from bdray.registry import component

if TYPE_CHECKING:
    import numpy as np
    import open_clip
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from bdray.checkpoint import Checkpointer, History
    from bdray.models.tokenizer import Tokenizer

State = Mapping[str, "Tensor"]
"""The tensors of a learned trigger by name, on the CPU."""


def _silent(metrics: Mapping[str, float]) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Lesson:
    """What an attacker has to learn a trigger from."""

    images: Images
    """Clean training images, uint8 [N, 3, H, W]."""
    captions: Sequence[str]
    """Their N captions."""
    is_target: "NDArray[np.bool_]"
    """Whether each caption names the target, bool [N]."""
    target: str
    """Class name that triggered images are to be taken for."""
    device: "torch.device"
    """Where to compute."""
    model: "open_clip.CLIP | None" = None
    """A clean model on ``device``, in eval mode and frozen; only for triggers that ask for one."""
    tokenizer: "Tokenizer | None" = None
    """The model's tokenizer; only for triggers that ask for a model."""
    report: Callable[[Mapping[str, float]], None] = _silent
    """Told the metrics of every finished epoch."""
    checkpointer: "Checkpointer | None" = None
    """Keeps the state of an unfinished lesson; None keeps nothing."""


@component
class LearnedTrigger(Trigger):
    """A trigger with tensors that are learned on the attacker's clean images, the same for all seeds of a study."""

    needs_model: ClassVar[bool] = False
    """Whether it is learned against a clean model, which then has to be there before the attack."""
    epochs: int = Field(default=50, ge=0)
    """Passes over the samples it is learned on."""
    batch_size: int = Field(default=64, ge=2)
    """Samples per step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's learning rate."""
    num_samples: int | None = Field(default=10_000, ge=2)
    """Training samples it is learned on, drawn at random; None: all that there are, and never more than that."""

    @abstractmethod
    def learn(self, lesson: Lesson) -> "tuple[State, History]":
        """Learn the trigger; a pure function of the fields and the lesson.

        Returns:
            The tensors that :meth:`apply` needs, and the metrics of every epoch.
        """

    def with_state(self, state: State) -> Self:
        """A copy that can be applied.

        Args:
            state: What :meth:`learn` returned.
        """
        ready = copy.copy(self)
        object.__setattr__(ready, "_state", dict(state))  # beside the fields: no part of what it is configured to be
        return ready

    @property
    def state(self) -> State:
        """The learned tensors.

        Raises:
            RuntimeError: If this trigger was not learned.
        """
        try:
            found: State = self.__dict__["_state"]
        except KeyError:
            raise RuntimeError(
                f"trigger {self.type!r} has to be learned first: use learn() and with_state()."
            ) from None
        return found


def draw(trigger: LearnedTrigger, available: "Sequence[int] | NDArray[np.integer[Any]]") -> "NDArray[np.int64]":
    """Draw the samples that a trigger is learned on: ``num_samples`` of those available, in random order."""
    import numpy as np

    order = np.random.default_rng([trigger.seed, 0x7E5507]).permutation(np.asarray(available, dtype=np.int64))
    return order[: trigger.num_samples]


def fit(
    module: "nn.Module",
    loss: "Callable[[Tensor, torch.Generator], Mapping[str, Tensor]]",
    trigger: LearnedTrigger,
    available: Sequence[int],
    lesson: Lesson,
    after_step: Callable[[], None] = lambda: None,
    after_epoch: Callable[[], Mapping[str, float]] = dict,
) -> "History":
    """Minimize a loss with Adam, continuing from the lesson's checkpoint if there is one.

    Args:
        module: Holds the parameters to learn, on the lesson's device.
        loss: Given sample indices (int64 [B]) and a generator for this step, returns named scalars; ``"loss"`` is the
            one that is minimized, all are reported.
        trigger: Whose epochs, batch size, learning rate, number of samples and seed are used.
        available: Indices of the samples that may be drawn.
        lesson: Told of every epoch.
        after_step: Called after every step, to clip, say.
        after_epoch: More metrics of a finished epoch.

    Raises:
        TrainingError: If the loss is no longer finite.
    """
    import numpy as np
    import torch

    optimizer = torch.optim.Adam(module.parameters(), lr=trigger.learning_rate)
    history = lesson.checkpointer.load(module, optimizer) if lesson.checkpointer else []
    chosen = draw(trigger, available)
    batch_size, count = min(trigger.batch_size, len(chosen)), len(chosen)
    for epoch in range(len(history), trigger.epochs):
        module.train()
        order = np.random.default_rng([trigger.seed, epoch, 0x7E5507]).permutation(chosen)
        sums: dict[str, Tensor] = {}
        steps = count // batch_size
        for step in range(steps):
            samples = torch.from_numpy(np.sort(order[step * batch_size : (step + 1) * batch_size]))
            terms = loss(samples, trigger.generator(epoch, step))
            terms["loss"].backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            after_step()
            for name, term in terms.items():
                sums[name] = sums.get(name, 0) + term.detach()
        module.eval()
        metrics = {name: value.item() / steps for name, value in sums.items()} | dict(after_epoch())
        if not all(map(math.isfinite, metrics.values())):
            raise TrainingError(
                f"trigger {trigger.type!r}: the loss is not finite in epoch {epoch + 1}: {metrics}. "
                "Lower attack.trigger.learning_rate."
            )
        history.append({"epoch": epoch + 1.0, **metrics})
        if lesson.checkpointer:
            lesson.checkpointer.save(module, optimizer, history)
        lesson.report(history[-1])
    module.eval()
    return history
