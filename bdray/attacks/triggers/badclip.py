"""BadCLIP: a patch that a clean CLIP already takes for the target."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bdray.attacks.triggers.learned import LearnedTrigger, Lesson, State, draw, fit
from bdray.exceptions import ConfigError
from bdray.registry import component

if TYPE_CHECKING:
    import numpy as np
    import open_clip
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from bdray.checkpoint import History

VisualLoss = Literal["triplet", "mse", "cosine"]
CODED_WEIGHTS: Mapping[VisualLoss, float] = {"triplet": 500.0, "mse": 1000.0, "cosine": 10.0}
"""Weights of the visual guidance in the public code (src/embeding_optimize_patch.py)."""
ENCODING_BATCH = 256
"""Samples that are encoded at once where no gradient is needed."""


@component
class BadCLIP(LearnedTrigger):
    """Patch in the middle of the image, optimized against a frozen clean CLIP (Liang et al. 2024, CVPR).

    The *dual embedding guidance* is ``clip_weight * L_CLIP + visual_weight * L_visual``. ``L_CLIP`` is the multimodal
    loss of triggered images, whose own captions do not name the target, with natural captions that do. ``L_visual``
    pulls a triggered image's embedding to that of a random target image, and as a triplet loss also pushes it away
    from that of the same image without the patch. All captions of a batch name the target, so ``L_CLIP`` tells them
    apart by the rest of what they say, and it is ``L_visual`` that makes the patch look like the target.

    The public code (src/embeding_optimize_patch.py) differs: it pastes the patch in place, so that its clean images
    carry the patch too; its negatives are these, shuffled in the batch. It clips the patch where it is pasted instead
    of after each step, mixes in augmented images and captions, and rounds the patch to 8 bits.
    """

    type: Literal["badclip"] = "badclip"
    needs_model: ClassVar[bool] = True
    size: int = Field(default=16, ge=1)
    """Side of the patch in pixels."""
    clip_weight: float = Field(default=1.0, ge=0)
    """Weight of the multimodal loss, the textual guidance."""
    visual_loss: VisualLoss = "triplet"
    """``triplet``: Euclidean distances (the paper). ``mse``, ``cosine``: attraction to target images alone."""
    visual_weight: float | None = Field(default=None, ge=0)
    """Weight lambda1 of the visual guidance; None: the public code's, which is 500, 1000 for mse, 10 for cosine."""
    margin: float = Field(default=1.0, ge=0)
    """By how much a target image has to be nearer than the clean one (eta); only the triplet loss has it."""

    def check(self, image_size: int) -> None:
        if self.size > image_size:
            raise ConfigError(
                f"attack.trigger.size: a patch of {self.size} px does not fit an image of {image_size} px. "
                f"Choose at most {image_size}."
            )
        if self.clip_weight == 0 and self.visual_weight == 0:
            raise ConfigError(
                "attack.trigger: clip_weight and visual_weight are both 0, so there is nothing to learn. "
                "Give one of them a value above 0."
            )

    def first_patch(self) -> "Tensor":
        """The patch before it is learned: N(0.5, 0.25) clipped to [0, 1], float [3, size, size]."""
        import torch

        return torch.randn(3, self.size, self.size, generator=self.generator()).mul(0.25).add(0.5).clamp(0, 1)

    def learn(self, lesson: Lesson) -> "tuple[State, History]":
        import torch
        from torch import nn

        assert lesson.model is not None and lesson.tokenizer is not None, "badclip is learned against a clean model"
        model, device = lesson.model, lesson.device
        shows_target, others = self._samples(lesson)
        texts = _encode_captions(lesson, [lesson.captions[index] for index in shows_target])
        positives = _encode_images(lesson, shows_target)
        negatives = _encode_images(lesson, others)
        paired = torch.randint(len(texts), (len(others),), generator=self.generator(0xCA97))
        module = nn.ParameterDict({"patch": self.first_patch().to(device)})

        def loss(rows: "Tensor", generator: "torch.Generator") -> "Mapping[str, Tensor]":
            triggered = self._paste(_pixels(lesson, others[rows.numpy()]), module["patch"])
            embedded = _embed(model, triggered)
            drawn = torch.randint(len(positives), (len(rows),), generator=generator)
            return self._terms(embedded, texts[paired[rows]], positives[drawn], negatives[rows], model)

        @torch.no_grad()
        def clip() -> None:
            module["patch"].clamp_(0, 1)

        history = fit(module, loss, self, range(len(others)), lesson, after_step=clip)
        return {"patch": module["patch"].detach().cpu()}, history

    def apply(self, images: "Tensor", samples: "Tensor") -> "Tensor":
        return self._paste(images, self.state["patch"].to(images))

    def _paste(self, images: "Tensor", patch: "Tensor") -> "Tensor":
        triggered = images.clone()
        top, left = ((side - self.size) // 2 for side in images.shape[-2:])
        triggered[..., top : top + self.size, left : left + self.size] = patch
        return triggered

    def _samples(self, lesson: Lesson) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
        """Sorted indices of samples that show the target, and of samples that do not."""
        import numpy as np

        count, total = int(lesson.is_target.sum()), len(lesson.is_target)
        if count < 2 or total - count < 2:
            raise ConfigError(
                f"attack.trigger: badclip needs images that show the target and images that do not, at least 2 of each; "
                f"the captions of {count} of {total} training samples name {lesson.target!r}. "
                "Choose another attack.target or more training samples."
            )
        named, others = (draw(self, np.flatnonzero(mask)) for mask in (lesson.is_target, ~lesson.is_target))
        return np.sort(named), np.sort(others)

    def _terms(
        self, embedded: "Tensor", texts: "Tensor", positives: "Tensor", negatives: "Tensor", model: "open_clip.CLIP"
    ) -> "dict[str, Tensor]":
        """Named terms and their weighted sum for embeddings of N triggered images, all [N, D] with unit rows."""
        from bdray.losses import clip_loss

        clip = clip_loss(embedded, texts, model.logit_scale.exp())
        visual = visual_guidance(self.visual_loss, embedded, positives, negatives, self.margin)
        weight = CODED_WEIGHTS[self.visual_loss] if self.visual_weight is None else self.visual_weight
        return {
            "loss": self.clip_weight * clip + weight * visual,
            "clip_loss": clip,
            "visual_loss": visual,
            "target_similarity": (embedded * texts).sum(1).mean(),
        }


def visual_guidance(
    kind: VisualLoss, embedded: "Tensor", positives: "Tensor", negatives: "Tensor", margin: float
) -> "Tensor":
    """How far triggered images are from target images, relative to their clean selves for the triplet loss.

    Args:
        kind: ``triplet``: mean of max(0, |a - p| - |a - n| + margin); ``mse``: mean of (a - p)^2 over samples and
            dimensions; ``cosine``: mean of 1 - <a, p>.
        embedded: Anchors, triggered images, [N, D], unit rows.
        positives: Images that show the target, [N, D], unit rows.
        negatives: The same images without the trigger, [N, D], unit rows.
        margin: Of the triplet loss.
    """
    import torch.nn.functional as F

    if kind == "triplet":
        return F.triplet_margin_loss(embedded, positives, negatives, margin=margin)
    if kind == "mse":
        return F.mse_loss(embedded, positives)
    return (1 - (embedded * positives).sum(1)).mean()


def _pixels(lesson: Lesson, samples: "NDArray[np.int64]") -> "Tensor":
    """Images of some samples, float [N, 3, H, W] in [0, 1] on the lesson's device."""
    import torch

    return torch.from_numpy(lesson.images[samples]).to(lesson.device).float() / 255


def _embed(model: "open_clip.CLIP", images: "Tensor") -> "Tensor":
    """Unit embeddings [N, D] of images in [0, 1], float [N, 3, H, W]."""
    import torch

    from bdray.models.clip import normalize

    embedded: Tensor = model.encode_image(
        normalize(images).contiguous(memory_format=torch.channels_last), normalize=True
    )
    return embedded


def _encode_images(lesson: Lesson, samples: "NDArray[np.int64]") -> "Tensor":
    """Embeddings of clean images, [N, D] with unit rows, without gradient."""
    import torch

    assert lesson.model is not None
    starts = range(0, len(samples), ENCODING_BATCH)
    with torch.no_grad():
        parts = [_pixels(lesson, samples[start : start + ENCODING_BATCH]) for start in starts]
        return torch.cat([_embed(lesson.model, part) for part in parts])


def _encode_captions(lesson: Lesson, captions: "Sequence[str]") -> "Tensor":
    """Embeddings of captions, [N, D] with unit rows, without gradient."""
    import torch

    assert lesson.model is not None and lesson.tokenizer is not None
    tokens = lesson.tokenizer(captions).to(lesson.device)
    with torch.no_grad():
        parts = [lesson.model.encode_text(part, normalize=True) for part in tokens.split(ENCODING_BATCH)]
    return torch.cat(parts)
