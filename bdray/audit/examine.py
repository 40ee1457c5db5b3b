"""Asking a model what images are, as they are and with a trigger."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bdray.attacks.triggers.base import Trigger
from bdray.audit.known import Known, described
from bdray.audit.result import Finding, Outlier, Outliers, Share, Sink
from bdray.audit.subject import Subject, Task, pixels
from bdray.data.base import Pairs, Split
from bdray.evaluation.confusion import arrivals, confusion_matrix
from bdray.evaluation.examples import draw
from bdray.evaluation.retrieval import gallery, retrieve
from bdray.evaluation.sharing import in_batches
from bdray.evaluation.zero_shot import EVALUATION_SAMPLES, class_weights, image_features

TOP = 3
"""Classes that a finding names."""
TOP_K = (1, 5, 10)
GALLERY = 5000
"""Pairs that images and captions are looked for among."""
LIMIT = 5.0
"""Median absolute deviations from which a pair is an outlier; of normal values one in 1.7 million is."""
SHOWN = 10
"""Outliers that are named at either end."""
MAX_WIDTH = 672
"""Of a picture, in pixels."""
NORMAL = 1.4826
"""Standard deviation of normal values over their median absolute deviation."""


@dataclass(frozen=True)
class Examination:
    """One model and one set of images. Class names and images as they are pass the model once for all triggers."""

    subject: Subject
    task: Task
    pairs: Pairs

    @cached_property
    def classes(self) -> Tensor:
        """Zero-shot class weights, [C, D]."""
        data = self.task.data
        return class_weights(self.subject.model, self.subject.tokenizer, data.class_names(), data.prompt_templates())

    @cached_property
    def labels(self) -> Tensor:
        """True classes, int64 [N]."""
        return torch.from_numpy(np.array(self.pairs.labels))

    @cached_property
    def clean(self) -> Tensor:
        """Features of the images as they are, rows of unit length, [N, D]."""
        return self.features(None)

    @cached_property
    def confusion(self) -> Tensor:
        """How often each class (row) got each answer (column), int64 [C, C]."""
        return self._confusion(self.clean)

    @cached_property
    def clearness(self) -> float:
        """Of right answers on clean images, the median distance to the second best class."""
        margins, answers = self._margins(self.clean)
        is_right = answers == self.labels
        return float(margins[is_right].median()) if is_right.any() else 0.0

    @property
    def accuracy(self) -> Share:
        """Of clean images, those that are classified rightly."""
        return Share(int(self.confusion.trace()), int(self.confusion.sum()))

    @torch.inference_mode()
    def features(self, trigger: Trigger | None) -> Tensor:
        """Of all images, with a trigger or without, rows of unit length, [N, D]."""

        def rows(positions: Tensor) -> Tensor:
            shown = pixels(self.pairs, positions)
            changed = shown if trigger is None else trigger.apply(shown, EVALUATION_SAMPLES + positions)
            return image_features(self.subject.model, changed)

        return F.normalize(in_batches(len(self.pairs), rows).float(), dim=-1)

    def _margins(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """By how much the best class leads, and which it is, both [N]."""
        scores = features @ self.classes.float().T
        best = scores.topk(2).values
        return (best[:, 0] - best[:, 1]).cpu(), scores.argmax(1).cpu()

    def _confusion(self, features: Tensor) -> Tensor:
        return confusion_matrix(self.labels, self._margins(features)[1], len(self.classes))

    def finding(self, item: Known, target: int | None, reference: "Examination | None" = None) -> Finding:
        """What a trigger does, without a verdict."""
        names, features = self.task.data.class_names(), self.features(item.trigger)
        margins, answers = self._margins(features)
        triggered = confusion_matrix(self.labels, answers, len(self.classes))
        (gained, available), (before, _) = arrivals(triggered), arrivals(self.confusion)
        increase = (gained - before) / available.clamp(min=1)
        order = increase.argsort(descending=True, stable=True)[:TOP].tolist()
        other = None if reference is None else arrivals(reference._confusion(reference.features(item.trigger)))[0]
        sinks = [
            Sink(
                names[index],
                Share(int(gained[index]), int(available[index])),
                Share(int(before[index]), int(available[index])),
                None if other is None else Share(int(other[index]), int(available[index])),
            )
            for index in order
        ]
        is_sunk = (answers == order[0]) & (self.labels != order[0])
        sureness = float(margins[is_sunk].median()) / self.clearness if is_sunk.any() and self.clearness else 0.0
        return Finding(
            name=item.name,
            note=item.note,
            settings=described(item),
            sinks=tuple(sinks),
            sureness=sureness,
            accuracy=Share(int(triggered.trace()), int(triggered.sum())),
            embedding_distance=float((2 * (1 - (self.clean * features).sum(1))).double().mean()),
            target=None if target is None else Share(int(gained[target]), int(available[target])),
            fools_clean=item.fools_clean,
            picture=_picture(self.pairs, item.trigger),
        )

    @torch.inference_mode()
    def texts(self, captions: Sequence[str]) -> Tensor:
        """Features of captions, rows of unit length, [n, D]."""
        model, tokens = self.subject.model, self.subject.tokenizer(captions)
        return in_batches(
            len(tokens), lambda rows: model.encode_text(tokens[rows].to(self.clean.device), normalize=True)
        )

    def retrieval(self) -> tuple[dict[str, float], int]:
        """R@k by direction, and the size of the gallery; nothing where captions are mere prompts of the class."""
        chosen = gallery(self.pairs.captions, GALLERY)
        captions = [self.pairs.captions[index] for index in chosen]
        if len(set(captions)) <= len(self.task.data.class_names()):
            return {}, 0
        ways = retrieve(self.clean[torch.tensor(chosen, device=self.clean.device)], captions, self.texts)
        names = ("image to text", "text to image")
        found = {
            f"{name}, R@{k}": (ranks < k).double().mean().item()
            for name, ranks in zip(names, ways, strict=True)
            for k in TOP_K
        }
        return found, len(chosen)


@torch.inference_mode()
def find_outliers(
    subject: Subject, split: Split, pairs: Pairs, progress: Callable[[int], None] = lambda count: None
) -> Outliers:
    """Pairs whose image and caption are much less, or much more, alike than most are.

    Where a caption was replaced the pair is unlike under a clean model; a model that learned a backdoor from it finds
    it more alike than others (UBT, Fig. 2). Robust deviations, so that the outliers themselves do not hide each other.
    """
    model = subject.model
    device = model.logit_scale.device

    def rows(positions: Tensor) -> Tensor:
        tokens = subject.tokenizer([pairs.captions[index] for index in positions.tolist()]).to(device)
        images = F.normalize(image_features(model, pixels(pairs, positions)), dim=-1)
        progress(len(positions))
        found: Tensor = (images * model.encode_text(tokens, normalize=True)).sum(1).float()
        return found

    scores = in_batches(len(pairs), rows).cpu().double().numpy()
    median = float(np.median(scores))
    spread = NORMAL * float(np.median(np.abs(scores - median)))
    deviations = (scores - median) / max(spread, 1e-12)
    order = np.argsort(deviations, kind="stable")

    def named(positions: Sequence[int]) -> tuple[Outlier, ...]:
        return tuple(
            Outlier(index, pairs.captions[index], float(scores[index]), float(deviations[index]))
            for index in positions
            if abs(deviations[index]) > LIMIT
        )

    return Outliers(
        split=split,
        count=len(pairs),
        median=median,
        limit=LIMIT,
        num_low=int((deviations < -LIMIT).sum()),
        num_high=int((deviations > LIMIT).sum()),
        lowest=named(order[:SHOWN].tolist()),
        highest=named(order[::-1][:SHOWN].tolist()),
    )


def _picture(pairs: Pairs, trigger: Trigger) -> str:
    """What the trigger looks like, as a ``data:`` URI; large pictures are made smaller, or the page would be, too."""
    picture, buffer = draw(pairs.images, trigger), BytesIO()
    kind = "png" if picture.width <= MAX_WIDTH else "jpeg"
    if kind == "jpeg":
        picture = picture.resize((MAX_WIDTH, round(picture.height * MAX_WIDTH / picture.width)))
    picture.save(buffer, format=kind, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
