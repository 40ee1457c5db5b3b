"""Batch normalization over all workers, on any device."""

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bdray.exceptions import ConfigError
from bdray.objective import sum_over_workers


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization whose statistics are those of the global batch.

    ``torch.nn.SyncBatchNorm`` runs on GPUs only; this one also lets a CPU run with two workers compute exactly
    what one worker would.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        count = input.numel() // input.shape[1] * torch.distributed.get_world_size()
        total = sum_over_workers(input.sum((0, 2, 3)))
        mean = total / count
        centered = input - mean[:, None, None]
        variance = sum_over_workers(centered.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            if self.num_batches_tracked is not None:  # it is while a batch passes once more for its gradient
                self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centered * scale[:, None, None] + self.bias[:, None, None]


def synchronize(model: nn.Module) -> None:
    """Make every batch normalization of ``model`` a synchronized one, in place, keeping its weights.

    Raises:
        ConfigError: If there is one of another kind, as some of timm's towers have.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm) and type(module) not in (nn.BatchNorm2d, SynchronizedBatchNorm2d):
            raise ConfigError(
                f"training.num_workers: the model has {type(module).__name__}, whose statistics cannot be shared by "
                "workers. Train it with training.num_workers=1."
            )
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SynchronizedBatchNorm2d
