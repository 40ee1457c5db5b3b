"""Where images go under a model: from which class to which."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

CONFUSION = "confusion.csv"
"""File of an evaluation: a line for each class and answer that occur, with how often, clean and triggered."""


def confusion_matrix(labels: Tensor, answers: Tensor, num_classes: int) -> Tensor:
    """How many images of each class (row) got each answer (column), int64 [C, C].

    Args:
        labels: True classes, int64 [N].
        answers: Likewise.
        num_classes: C.
    """
    return torch.bincount(labels * num_classes + answers, minlength=num_classes**2).view(num_classes, num_classes)


def arrivals(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """For each class how many images that do not show it got it as answer, and how many such images there are.

    Args:
        matrix: int64 [C, C], as :func:`confusion_matrix` gives it.

    Returns:
        Both int64 [C].
    """
    return matrix.sum(0) - matrix.diagonal(), matrix.sum() - matrix.sum(1)


def write(path: Path, names: Sequence[str], clean: Tensor, triggered: Tensor) -> None:
    """Write :data:`CONFUSION`, the answers that most triggered images of other classes got first.

    Args:
        path: The file.
        names: Of the C classes.
        clean: Confusion of the images as they are, int64 [C, C].
        triggered: Of the same images with the trigger.
    """
    import pandas as pd

    rows, columns = torch.nonzero(clean + triggered, as_tuple=True)
    table = pd.DataFrame(
        {
            "true_class": [names[index] for index in rows.tolist()],
            "answer": [names[index] for index in columns.tolist()],
            "clean": clean[rows, columns].tolist(),
            "triggered": triggered[rows, columns].tolist(),
        }
    )
    is_right = (rows == columns).tolist()
    order = table.assign(is_right=is_right).sort_values(
        ["is_right", "triggered"], ascending=[True, False], kind="stable"
    )
    order.drop(columns="is_right").to_csv(path, index=False)
