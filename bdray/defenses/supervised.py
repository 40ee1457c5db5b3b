"""Supervised finetuning: the image tower learns to classify clean labeled images."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.data.base import Pairs
from bdray.data.subset import take
from bdray.defenses.base import CleanDataDefense, DefenderData, Sizes
from bdray.exceptions import ConfigError, DataError
from bdray.registry import component

if TYPE_CHECKING:
    import open_clip

    from bdray.checkpoint import History
    from bdray.training.session import Session

HEAD = "head.safetensors"
"""File of the trained head; where it is there, evaluation classifies by it."""


@component
class Supervised(CleanDataDefense):
    """Cross-entropy finetuning of the image tower with a linear head (CleanCLIP, Sec. 4.3, App. D.3, Table 3).

    The model is then judged by its head and no longer by the classes' names: the text tower is left as it was. The
    paper takes 50 images of each class (of ImageNet's validation split by App. D.3, of its train split by E and F.5).
    """

    type: Literal["supervised"] = "supervised"

    per_class: int | None = Field(default=50, ge=1)
    """Labeled images of each class, drawn at random from the clean pairs; None: all that have a label."""

    def images(self, sizes: Sizes) -> int:
        return self._most(sizes) * self.recipe.epochs

    def check(self, sizes: Sizes) -> None:
        if self._most(sizes) < self.recipe.batch_size:
            raise ConfigError(
                f"defense.per_class: {self.per_class} images of each of {sizes.classes} classes are "
                f"{self._most(sizes)}, fewer than a batch of {self.recipe.batch_size} (defense.recipe.batch_size). "
                "Take more, or a smaller batch."
            )

    def _most(self, sizes: Sizes) -> int:
        """Images that it takes at most: how many have which label is known when they are read."""
        return sizes.clean if self.per_class is None else min(sizes.clean, self.per_class * sizes.classes)

    def run(self, model: "open_clip.CLIP", data: DefenderData, session: "Session") -> "History":
        import torch

        from bdray.models import weights
        from bdray.objective import SupervisedObjective

        assert data.clean is not None
        pairs = self._labeled(data.clean, session.seed)
        labels = torch.from_numpy(pairs.labels)
        objective = SupervisedObjective(labels, data.num_classes, model.visual.output_dim, session.seed).to(
            session.device
        )
        trained = {f"visual.{name}" for name, _ in model.visual.named_parameters()}
        frozen = [value for name, value in model.named_parameters() if name not in trained and value.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(False)
        history = session.train(model, objective, self.recipe, pairs.images, pairs.captions)
        for parameter in frozen:
            parameter.requires_grad_(True)
        if session.folder is not None:
            weights.save(objective.head.state_dict(), session.folder / HEAD)
        return history

    def _labeled(self, pairs: Pairs, seed: int) -> Pairs:
        import numpy as np

        rng = np.random.default_rng([seed, 0x1ABE1])
        order = rng.permutation(len(pairs))
        chosen = [
            order[pairs.labels[order] == label][: self.per_class] for label in np.unique(pairs.labels) if label >= 0
        ]
        if not chosen or sum(map(len, chosen)) < self.recipe.batch_size:
            raise DataError(
                f"defense.type: supervised needs at least {self.recipe.batch_size} labeled images, a batch, but finds "
                f"{sum(map(len, chosen))} among {len(pairs)} clean pairs, at most {self.per_class} of each class. "
                "Choose data with labels, a larger per_class or a smaller batch."
            )
        return take(pairs, np.sort(np.concatenate(chosen)))
