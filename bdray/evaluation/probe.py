"""Linear classifiers on a frozen model's features: the papers' protocol, and logistic regression by L-BFGS."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdray.evaluation.material import Labeled

Classifier = Callable[[Tensor], Tensor]
"""Features, float [N, D], to classes, int64 [N]."""
HELD_OUT = 0.2
"""Share of the training images that the strength of the regression is chosen on."""


def train_paper(
    given: Labeled,
    num_classes: int,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
) -> Classifier:
    """One linear layer by AdamW, with a cosine without warmup and no decay of the bias.

    That is CleanCLIP's public code (src/evaluate.py:228-305).
    A pure function of its arguments; the last batch of an epoch may be smaller.
    """
    count, width = given.features.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.Linear(width, num_classes)
    layer = layer.to(given.features.device)
    groups = [
        {"params": [layer.weight], "weight_decay": weight_decay},
        {"params": [layer.bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate)
    total = epochs * math.ceil(count / batch_size)
    step = 0
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch, 0x960BE]).permutation(count)
        for batch in torch.from_numpy(order).to(given.features.device).split(batch_size):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (1 + math.cos(math.pi * step / total)) / 2
            optimizer.zero_grad()
            F.cross_entropy(layer(given.features[batch]), given.labels[batch]).backward()
            optimizer.step()
            step += 1
    layer.requires_grad_(False)
    return lambda features: layer(features.to(layer.weight)).argmax(1)


def train_lbfgs(given: Labeled, *, strengths: Sequence[float], max_steps: int, seed: int) -> tuple[Classifier, float]:
    """Logistic regression by scikit-learn's L-BFGS, with the strength that does best on a fifth of the images.

    The strength is the inverse of the L2 penalty's weight (scikit-learn's C); among equals the first one is taken, and
    the classifier is trained once more on all images. CLIP's own linear probe chooses it likewise (Radford et al.
    2021, App. A.3).

    Returns:
        The classifier and its strength.
    """
    features, labels = given.features.cpu().double().numpy(), given.labels.cpu().numpy()
    order = np.random.default_rng([seed, 0x1BF65]).permutation(len(labels))
    held_out = max(1, round(HELD_OUT * len(order)))
    chosen = strengths[0]
    if len(strengths) > 1:
        test, train = order[:held_out], order[held_out:]
        scores = [
            float(
                (
                    _fit(features[train], labels[train], strength, max_steps).predict(features[test]) == labels[test]
                ).mean()
            )
            for strength in strengths
        ]
        chosen = strengths[int(np.argmax(scores))]
    found = _fit(features, labels, chosen, max_steps)

    def classify(rows: Tensor) -> Tensor:
        return torch.from_numpy(found.predict(rows.cpu().double().numpy())).to(rows.device)

    return classify, chosen


def _fit(features: "np.ndarray[Any, Any]", labels: "np.ndarray[Any, Any]", strength: float, max_steps: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # Weak penalties need more steps than anyone waits for; what was reached by then is judged like the others.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=strength, max_iter=max_steps).fit(features, labels)
