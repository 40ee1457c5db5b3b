"""Image-text retrieval: whether images find their captions and captions their images."""

from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from bdray.data.base import Dataset, Split
from bdray.evaluation.metrics.base import Features, Metric
from bdray.registry import component


@component
class ImageTextRetrieval(Metric):
    """R@k on clean pairs of the evaluated split: share of queries with a right answer among the k best.

    What a model is worth beside its zero-shot task (Radford et al. 2021, Table 13). A caption that several images have
    is one text with several right images, so nobody is punished for an answer that is as good. Larger galleries give
    lower rates: compare only models that were asked about as many pairs.
    """

    type: Literal["image_text_retrieval"] = "image_text_retrieval"
    every_epoch: ClassVar[bool] = False
    top_k: tuple[PositiveInt, ...] = Field(default=(1, 5, 10), min_length=1)
    """Values of k."""
    num_pairs: int = Field(default=5000, ge=2)
    """Pairs in the gallery, drawn at random, the same for every model; 5,000 are what COCO's tests have."""

    split: Literal["finetune"] | None = None
    """Clean pairs to ask about; None: those of the evaluated split, whose captions are mere prompts of the class where
    the images are those of a classification task."""

    @property
    def splits(self) -> tuple[Split, ...]:
        return () if self.split is None else (self.split,)

    def images_read(self, data: Dataset) -> int:
        return 0 if self.split is None else min(self.num_pairs, data.size(self.split))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"retrieval_{way}_top{k}" for k in self.top_k for way in ("image_to_text", "text_to_image"))

    def measure(self, features: Features) -> dict[str, float]:
        import numpy as np
        import torch
        import torch.nn.functional as F

        from bdray.evaluation.retrieval import gallery, retrieve

        if features.material is None:
            return {}
        pairs = None if self.split is None else features.material.sources.load(self.split)
        captions = features.captions if pairs is None else pairs.captions
        chosen = gallery(captions, self.num_pairs)
        if not chosen:
            return dict.fromkeys(self.names, float("nan"))
        if pairs is None:
            images = features.clean[torch.tensor(chosen, device=features.clean.device)].float()
        else:
            images = F.normalize(features.material.images(pairs, np.array(chosen)), dim=-1)
        found = retrieve(images, [captions[index] for index in chosen], features.material.texts)
        ways = [(k, ranks) for k in self.top_k for ranks in found]
        return {name: (ranks < k).double().mean().item() for name, (k, ranks) in zip(self.names, ways, strict=True)}
