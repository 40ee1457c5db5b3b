"""Less memory for more time: what a tower's blocks computed is computed once more when the gradient asks for it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import open_clip
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpoint_blocks(model: open_clip.CLIP) -> None:
    """Let the model keep, while it trains, only what goes into the blocks of its towers; exact for batch norm, too.

    Transformers have open_clip's own way. It has none for its ResNets.
    """
    model.set_grad_checkpointing(True)
    for block in _resnet_blocks(model.visual):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=partial(_contexts, block))


def kinds_of_batch_norm(model: nn.Module) -> set[str]:
    """Names of the classes of the model's batch normalizations."""
    return {type(module).__name__ for module in model.modules() if isinstance(module, _BatchNorm)}


@contextmanager
def same_statistics(block: nn.Module) -> Iterator[None]:
    """Let batch normalizations pass a batch a second time without counting it into their running statistics."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _resnet_blocks(tower: nn.Module) -> list[Any]:
    names = ("layer1", "layer2", "layer3", "layer4")
    return [
        block for name in names if isinstance(layer := getattr(tower, name, None), nn.Sequential) for block in layer
    ]


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around a block's first pass, and around its second one."""
    return nullcontext(), same_statistics(block)
