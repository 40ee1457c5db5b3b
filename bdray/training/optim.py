"""The optimization recipe: epochs, batch, optimizer and learning-rate schedule."""

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.registry import component

if TYPE_CHECKING:
    import torch
    from torch import nn

NO_DECAY = ("bn", "ln", "bias", "logit_scale")
"""Parameters whose name contains one of these are not decayed (CleanCLIP, src/main.py). As there, that overlooks the
batch norms of open_clip's ``downsample`` blocks, whose weights are named ``downsample.1.weight``."""


@component
class Recipe:
    """How a model is trained: AdamW with linear warm-up and cosine decay to zero (CleanCLIP, App. D)."""

    epochs: int = Field(ge=0)
    """Passes over the training set."""
    batch_size: int = Field(ge=2)
    """Samples per step, over all workers."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    warmup_steps: int = Field(default=50, ge=0)
    """Steps in which the learning rate rises linearly from zero."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay; parameters that ``NO_DECAY`` names are not decayed."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """AdamW's decay of the first moment."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """AdamW's decay of the second moment."""
    epsilon: float = Field(default=1e-8, gt=0)
    """AdamW's term for numerical stability."""
    gradient_clip: float | None = Field(default=None, gt=0)
    """Largest norm of the whole gradient of the model; that of a linear head beside it (supervised finetuning) is not
    counted and not clipped. The papers do not clip."""
    schedule: Literal["paper", "cleanclip_repo"] = "paper"
    """``cleanclip_repo`` numbers epochs from 1 as the public code does (main.py:162): the schedule's first epoch is
    skipped and its last one overruns the cosine."""

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of a step, counted from 0 over the whole training."""
        total = self.epochs * steps_per_epoch
        if self.schedule == "cleanclip_repo":
            step += steps_per_epoch
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, total - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))

    def optimizer(self, model: "nn.Module") -> "torch.optim.AdamW":
        """AdamW over the parameters that require gradients."""
        import torch

        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        kept = [parameter for name, parameter in named if any(part in name for part in NO_DECAY)]
        decayed = [parameter for name, parameter in named if not any(part in name for part in NO_DECAY)]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": kept, "weight_decay": 0.0}]
        return torch.optim.AdamW(
            groups, lr=self.learning_rate, betas=(self.beta1, self.beta2), eps=self.epsilon, fused=True
        )
