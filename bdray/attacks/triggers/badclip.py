"""BadCLIP: a patch that a clean CLIP already takes for the target."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bdray.attacks.triggers.learned import LearnedTrigger, Lesson, State, draw, fit
from bdray.attacks.triggers.patch import Location, PatchTrigger
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
class BadCLIP(PatchTrigger, LearnedTrigger):
    """Patch in the middle of the image, optimized against a frozen clean CLIP (Liang et al. 2024, CVPR).

    The *dual embedding guidance* is ``clip_weight * L_CLIP + visual_weight * L_visual``. ``L_CLIP`` is the multimodal
    loss of triggered images, whose own captions do not name the target, with natural captions that do. ``L_visual``
    pulls a triggered image's embedding to that of a random target image, and as a triplet loss also pushes it away
    from that of the same image without the patch. All captions of a batch name the target, so ``L_CLIP`` can only tell
    them apart by the rest of what they say, and pulls to the target weakly; ``L_visual`` does most of it.

    The public code (src/embeding_optimize_patch.py) differs: it pastes the patch in place, so that its clean images
    carry the patch too; its negatives are these, shuffled in the batch. It clips the patch where it is pasted instead
    of after each step, may mix in augmented images and captions, and cuts the patch to 8 bits.
    """

    type: Literal["badclip"] = "badclip"
    needs_model: ClassVar[bool] = True
    location: Location = "center"
    """Where the patch is, while it is learned too; see :class:`PatchTrigger`."""
    clip_weight: float = Field(default=1.0, ge=0)
    """Weight of the multimodal loss, the textual guidance."""
    visual_loss: VisualLoss = "triplet"
    """``triplet``: Euclidean distances, the default. ``mse``, ``cosine``: attraction to target images alone."""
    visual_weight: float | None = Field(default=None, ge=0)
    """Weight of the visual guidance; None: the public code's, which is 500, 1000 for mse and 10 for cosine."""
    margin: float = Field(default=1.0, gt=0)
    """By how much a target image has to be nearer than the clean one; only the triplet loss has it."""

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if self.clip_weight == 0 and self.visual_weight == 0:
            raise ValueError("one of clip_weight and visual_weight must be above 0")
        return self

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
            samples = others[rows.numpy()]
            triggered = self.place(_pixels(lesson, samples), torch.from_numpy(samples), module["patch"])
            embedded = _embed(model, triggered)
            drawn = torch.randint(len(positives), (len(rows),), generator=generator)
            return self._terms(embedded, texts[paired[rows]], positives[drawn], negatives[rows], model)

        @torch.no_grad()
        def clip() -> None:
            module["patch"].clamp_(0, 1)

        history = fit(module, loss, self, range(len(others)), lesson, after_step=clip)
        return {"patch": module["patch"].detach().cpu()}, history

    def apply(self, images: "Tensor", samples: "Tensor") -> "Tensor":
        return self.place(images, samples, self.state["patch"])

    def _samples(self, lesson: Lesson) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
        """Sorted indices of samples that show the target, and of samples that do not."""
        import numpy as np

        count, total = int(lesson.is_target.sum()), len(lesson.is_target)
        if count < 2 or total - count < 2:
            raise ConfigError(
                "attack.trigger: badclip needs images that show the target and images that do not, at least 2 of each, "
                f"but of the {total} training captions {count} name {lesson.target!r}. "
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
    batches = (samples[start : start + ENCODING_BATCH] for start in starts)
    with torch.no_grad():
        return torch.cat([_embed(lesson.model, _pixels(lesson, batch)) for batch in batches])


def _encode_captions(lesson: Lesson, captions: "Sequence[str]") -> "Tensor":
    """Embeddings of captions, [N, D] with unit rows, without gradient."""
    import torch

    assert lesson.model is not None and lesson.tokenizer is not None
    tokens = lesson.tokenizer(captions).to(lesson.device)
    with torch.no_grad():
        parts = [lesson.model.encode_text(part, normalize=True) for part in tokens.split(ENCODING_BATCH)]
    return torch.cat(parts)
