"""Embedding map: clean, triggered and target images in the plane, as in CleanCLIP's Fig. 1 and 4."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bdray.evaluation.metrics.base import Features, Metric
from bdray.registry import component

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

EMBEDDING = "embedding.csv"
"""File of the result: a line for each point."""


@component
class EmbeddingMap(Metric):
    """Leaves a t-SNE map (van der Maaten & Hinton 2008) of image features in ``embedding.csv``, for the report.

    Its points are images as they are, some of which show the target, and those that do not once more with the trigger.
    Distances between far groups of a t-SNE map mean nothing, so it is no measure. ``embedding_silhouette`` is one, of
    the features themselves: how much triggered images keep to themselves, from -1 over 0 (they lie among clean ones)
    to 1 (Rousseeuw 1987, by cosine, over the images of the map that do not show the target).
    """

    type: Literal["embedding_map"] = "embedding_map"
    needs_trigger: ClassVar[bool] = True
    every_epoch: ClassVar[bool] = False
    files: ClassVar[tuple[str, ...]] = (EMBEDDING,)
    num_images: int = Field(default=500, ge=4)
    """Images of the map, drawn at random, the same for every model."""
    perplexity: float = Field(default=30.0, gt=1)
    """Of t-SNE: about how many neighbors a point has; at most a third of the points."""
    seed: int = Field(default=0, ge=0)
    """Of t-SNE; it starts from the first two principal components."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("embedding_silhouette",)

    def measure(self, features: Features) -> dict[str, float]:
        import torch
        from sklearn.metrics import silhouette_score

        order = torch.randperm(len(features.labels), generator=torch.Generator().manual_seed(0))
        chosen = order[: self.num_images].to(features.clean.device)
        others = chosen[features.labels[chosen] != features.target]
        rows = torch.cat([features.clean[chosen], features.triggered[others]]).cpu().double().numpy()
        if features.folder is not None:
            self._write(features, chosen, others, rows)
        if len(others) < 2:
            return {"embedding_silhouette": float("nan")}
        twins = torch.cat([features.clean[others], features.triggered[others]]).cpu().double().numpy()
        is_triggered = [False] * len(others) + [True] * len(others)
        return {"embedding_silhouette": float(silhouette_score(twins, is_triggered, metric="cosine"))}

    def _write(self, features: Features, chosen: "Tensor", others: "Tensor", rows: "NDArray[np.float64]") -> None:
        import pandas as pd
        from sklearn.manifold import TSNE

        assert features.folder is not None
        perplexity = min(self.perplexity, (len(rows) - 1) / 3)
        places = TSNE(perplexity=perplexity, init="pca", random_state=self.seed, n_jobs=1).fit_transform(rows)
        labels = features.labels[chosen].tolist()
        kinds = ["target" if label == features.target else "clean" for label in labels]
        table = pd.DataFrame(
            {
                "x": places[:, 0],
                "y": places[:, 1],
                "kind": kinds + ["triggered"] * len(others),
                "label": [features.class_names[label] for label in (*labels, *features.labels[others].tolist())],
            }
        )
        table.to_csv(features.folder / EMBEDDING, index=False, float_format="%.5g")
