"""How much a stage computes: what is known of its cost before it runs, and recorded with what it took."""

from dataclasses import dataclass

from bdray.models.clip import Model
from bdray.models.size import size_of

TRAINING = 3
"""Passes forward that an image costs where the model learns from it, for one backward costs two."""


@dataclass(frozen=True)
class Work:
    """Of one stage."""

    trained: int
    """Images that a model learns from, every view and every epoch counted."""
    watched: int
    """Images that only pass forward."""
    epochs: int
    steps: int
    """Batches."""
    flops: float | None
    """Floating-point operations of all passes; None in results of versions that could not count the architecture's."""
    parameters: int | None
    """Of the model."""


def work_of(
    model: Model, *, trained: int = 0, watched: int = 0, epochs: int = 0, batch_size: int | None = None
) -> Work:
    """The work of passing images through a model."""
    size = size_of(model)
    return Work(
        trained=trained,
        watched=watched,
        epochs=epochs,
        steps=-(-trained // batch_size) if batch_size else 0,
        flops=float((TRAINING * trained + watched) * size.flops),
        parameters=size.parameters,
    )


def device_name(device: str) -> str:
    """``cpu``, or what a GPU calls itself."""
    if device == "cpu":
        return device
    import torch

    return torch.cuda.get_device_name(device)
