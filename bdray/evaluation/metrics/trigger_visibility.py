"""Trigger visibility: how different triggered images look."""

from typing import ClassVar, Literal

from pydantic import Field

from bdray.evaluation.metrics.base import Features, Metric
from bdray.registry import component

MAX_PSNR = 100.0
"""dB given to a pair of images that do not differ, instead of infinity."""


@component
class TriggerVisibility(Metric):
    """PSNR, SSIM and largest change of pixels, averaged over random images as a viewer gets them: in 8 bits.

    ``trigger_psnr`` is in dB (Wang et al. 2004 for ``trigger_ssim``, in [-1, 1]); ``trigger_linf`` is the largest
    change of a channel of any pixel, in [0, 1]. The same images are taken for every attack.
    """

    type: Literal["trigger_visibility"] = "trigger_visibility"
    needs_trigger: ClassVar[bool] = True
    every_epoch: ClassVar[bool] = False
    num_images: int = Field(default=200, ge=1)
    """How many images are averaged over."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("trigger_psnr", "trigger_ssim", "trigger_linf")

    def measure(self, features: Features) -> dict[str, float]:
        import torch
        from torchmetrics.functional.image import structural_similarity_index_measure

        if features.pixels is None:
            return {}
        order = torch.randperm(len(features.labels), generator=torch.Generator().manual_seed(0))
        # In float64, for SSIM takes small differences of squares.
        clean, triggered = (
            (images.double() * 255).round() / 255 for images in features.pixels(order[: self.num_images])
        )
        error = (clean - triggered).flatten(1)
        psnr = -10 * error.square().mean(1).log10()
        ssim = structural_similarity_index_measure(triggered, clean, data_range=1.0)
        assert isinstance(ssim, torch.Tensor)
        return {
            "trigger_psnr": psnr.clamp(max=MAX_PSNR).mean().item(),
            "trigger_ssim": ssim.item(),
            "trigger_linf": error.abs().amax(1).mean().item(),
        }
