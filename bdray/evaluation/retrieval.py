"""Ranks of right answers among all images or all captions of a gallery."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

ROWS = 1024
"""Queries that are ranked at once."""


def gallery(captions: Sequence[str], count: int) -> list[int]:
    """Positions of at most ``count`` samples that have a caption, drawn at random, the same for every model."""
    order = torch.randperm(len(captions), generator=torch.Generator().manual_seed(0))
    return [index for index in order.tolist() if captions[index].strip()][:count]


def retrieve(images: Tensor, captions: Sequence[str], encode: Callable[[list[str]], Tensor]) -> tuple[Tensor, Tensor]:
    """Rank captions by images, and images by captions.

    A caption that several images have is one text with several right images.

    Args:
        images: Features with rows of unit length, [N, D].
        captions: Of the images.
        encode: Gives the features of texts, rows of unit length.

    Returns:
        Ranks of the images' own texts, float [N], and of the texts' best images, float [T]; 0 is the top.
    """
    texts = list(dict.fromkeys(captions))
    place = {text: index for index, text in enumerate(texts)}
    own = torch.tensor([place[caption] for caption in captions], device=images.device)
    known, every = encode(texts).to(images), torch.arange(len(texts), device=images.device)
    to_text = ranks(images, known, lambda rows: own[rows, None] == every)
    to_image = ranks(known, images, lambda rows: every[rows, None] == own)
    return to_text, to_image


def ranks(queries: Tensor, answers: Tensor, is_right: Callable[[Tensor], Tensor]) -> Tensor:
    """Position of each query's best right answer, float [Q]; 0 is the top.

    Counts the wrong answers that score higher, and half of those that score the same.

    Args:
        queries: [Q, D].
        answers: [A, D].
        is_right: Given positions of queries, int64 [q], says which answers are right, bool [q, A]; each has one.
    """
    found = []
    for rows in torch.arange(len(queries), device=queries.device).split(ROWS):
        scores, right = queries[rows] @ answers.T, is_right(rows)
        best = scores.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
        higher = ~(scores <= best) & ~right  # not `scores > best`: a model that returns NaN comes last, not first
        found.append(higher.sum(1) + ((scores == best) & ~right).sum(1) / 2)
    return torch.cat(found)
