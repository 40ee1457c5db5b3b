"""What a training step minimizes: named loss terms and their weights."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import open_clip
import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn

from bdray.losses import clip_loss, in_modal_loss


@dataclass(frozen=True)
class Batch:
    """One worker's share of a training batch, on the model's device. N samples, in the same order everywhere."""

    images: Tensor
    """Normalized pixels, float [N, 3, H, W]."""
    tokens: Tensor
    """Token ids, int64 [N, L], maybe without padding at the end, as :mod:`bdray.models.text_tower` leaves it out."""
    samples: Tensor
    """Index of each sample in its training set, int64 [N]."""
    is_poisoned: Tensor
    """Whether the attacker changed the sample, bool [N]. Known to the experiment, not to any defense."""
    augmented_images: Tensor | None = None
    """Second view of each image, float [N, 3, H, W]; only if the objective asks for views."""
    augmented_tokens: Tensor | None = None
    """Second view of each caption, int64 [N, L]; only if the objective asks for views."""


@dataclass(frozen=True)
class Loss:
    """A weighted sum of named terms. The terms are what is logged, the total is what is minimized."""

    terms: Mapping[str, Tensor]
    """Unweighted scalars by name."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of each term; 1 where none is given."""

    @property
    def total(self) -> Tensor:
        """The scalar to minimize."""
        parts = [term * self.weights.get(name, 1.0) for name, term in self.terms.items()]
        return sum(parts[1:], start=parts[0])


class Encoders(Protocol):
    """What an objective asks of a model. open_clip's models have it, and :class:`bdray.models.towers.Towers`."""

    @property
    def logit_scale(self) -> Tensor:
        """The learned log(1/tau)."""
        ...

    def encode_image(self, images: Tensor, normalize: bool = False) -> Tensor:
        """Features of images, [N, D]; unit rows if ``normalize``."""
        ...

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        """Features of captions, likewise."""
        ...


class Objective(Protocol):
    """A training objective. Called as part of a module's ``forward``, so that DDP sees it."""

    @property
    def needs_views(self) -> bool:
        """Whether batches must carry augmented views.

        It is asked before every epoch, and once before the training: captions are augmented only if it is true then.
        """
        ...

    def __call__(self, model: Encoders, batch: Batch) -> Loss:
        """Compute the loss of the whole (global) batch from this worker's share."""
        ...


class StatefulObjective(nn.Module, ABC):
    """An objective that remembers, in its buffers, what it has seen: they are part of the training's checkpoint.

    All workers must have the same in them, so they have to be computed from what was gathered.
    """

    @property
    @abstractmethod
    def needs_views(self) -> bool:
        """As in :class:`Objective`."""

    def start_epoch(self, model: open_clip.CLIP, epoch: int, step: int = 0) -> None:
        """Get ready for an epoch, or for the rest of an interrupted one.

        Args:
            model: As the steps before left it.
            epoch: Counted from 0 over this training.
            step: The next one of the epoch. Above 0 the buffers are as they were before that step.
        """

    @abstractmethod
    def forward(self, model: Encoders, batch: Batch) -> Loss:
        """As :meth:`Objective.__call__`."""


class TrainingModule(nn.Module):
    """A model together with its objective: the forward pass that Distributed Data Parallel wraps."""

    def __init__(self, model: open_clip.CLIP, objective: Objective, encoders: Encoders | None = None) -> None:
        """Put them together; ``encoders`` is the model as the objective is to see it, by default as it is."""
        super().__init__()
        self.model = model
        self.objective = objective
        self.encoders = encoders

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to minimize, and the unweighted terms by name."""
        loss = self.objective(self.encoders or self.model, batch)
        return loss.total, {name: term.detach() for name, term in loss.terms.items()}


def gather(features: Tensor) -> Tensor:
    """Features of all workers, [world * N, D], with gradient to this worker's own rows.

    Every worker computes the same global loss from them, so what reaches its rows is their whole gradient, and nothing
    has to be sent back. Distributed Data Parallel averages over workers where the gradients of their rows would have to
    be summed; that is made up for here, and the result is exactly the single-worker gradient.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return features
    gathered: Tensor = _Gather.apply(features)
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, features: Tensor) -> Tensor:
        return gather_values(features.contiguous())

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        size = torch.distributed.get_world_size()
        return gradients[0].chunk(size)[torch.distributed.get_rank()] * size


def sum_over_workers(values: Tensor) -> Tensor:
    """The sum of all workers' tensors, whose gradient is the sum of all workers' gradients."""
    total: Tensor = _Sum.apply(values)
    return total


class _Sum(torch.autograd.Function):
    """torch's own collectives with gradients are deprecated, in favor of ones in a private module."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(context, gradient)


def gather_values(values: Tensor) -> Tensor:
    """Numbers without gradient of all workers, [world * N, ...], in the order of :func:`gather`."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    parts = [torch.empty_like(values) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, values)
    return torch.cat(parts)


@dataclass(frozen=True)
class ContrastiveObjective:
    """``lambda1 L_CLIP + lambda2 L_SS`` (CleanCLIP, Eq. 1).

    With one weight zero it is plain CLIP or pure self-supervision: a term of weight zero is not computed. Originals and
    augmented views pass the towers together, as in CleanCLIP's public code, so that batch normalization sees both.
    """

    clip_weight: float = 1.0
    """lambda1, weight of the multimodal loss."""
    in_modal_weight: float = 0.0
    """lambda2, weight of the self-supervised loss."""

    @property
    def needs_views(self) -> bool:
        """Whether the in-modal loss is on."""
        return self.in_modal_weight > 0

    def __call__(self, model: Encoders, batch: Batch) -> Loss:
        images, tokens = [batch.images], [batch.tokens]
        if self.needs_views:
            assert batch.augmented_images is not None and batch.augmented_tokens is not None
            images.append(batch.augmented_images)
            tokens.append(batch.augmented_tokens)
        image_features = model.encode_image(torch.cat(images), normalize=True).chunk(len(images))
        text_features = model.encode_text(torch.cat(tokens), normalize=True).chunk(len(tokens))
        image_views = [gather(features) for features in image_features]
        text_views = [gather(features) for features in text_features]
        scale = model.logit_scale.exp()
        terms, weights = {}, {}
        if self.clip_weight > 0:
            terms["clip_loss"] = clip_loss(image_views[0], text_views[0], scale)
            weights["clip_loss"] = self.clip_weight
        if self.needs_views:
            in_image = in_modal_loss(image_views[0], image_views[1], scale)
            in_text = in_modal_loss(text_views[0], text_views[1], scale)
            terms["in_modal_loss"] = (in_image + in_text) / 2
            weights["in_modal_loss"] = self.in_modal_weight
        return Loss(terms, weights)


class SupervisedObjective(StatefulObjective):
    """Cross-entropy of a linear head on the image tower's features, which are not normalized (CleanCLIP, App. D.3)."""

    def __init__(self, labels: Tensor, num_classes: int, width: int, seed: int) -> None:
        """Make a head with random weights.

        Args:
            labels: Class of each sample of the training set, int64 [N].
            num_classes: C.
            width: Length D of the features.
            seed: Of the weights.
        """
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(width, num_classes)
        self.register_buffer("labels", labels, persistent=False)

    @property
    def needs_views(self) -> bool:
        """It does not."""
        return False

    def forward(self, model: Encoders, batch: Batch) -> Loss:
        features = gather(model.encode_image(batch.images))
        labels = self.get_buffer("labels")[gather_values(batch.samples.to(batch.images.device))]
        return Loss({"cross_entropy_loss": F.cross_entropy(self.head(features), labels)})
