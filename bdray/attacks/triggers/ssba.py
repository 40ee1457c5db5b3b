"""SSBA: a message that a learned encoder hides in each image in another way."""

import dataclasses
import logging
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.attacks.triggers import noise
from bdray.attacks.triggers.learned import LearnedTrigger, Lesson, State, draw, fit
from bdray.exceptions import ConfigError
from bdray.registry import component

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from bdray.attacks.steganography import Decoder, Encoder, Steganography
    from bdray.checkpoint import History

    _Built = tuple[State, torch.device, tuple[Encoder, Decoder]]

_log = logging.getLogger(__name__)
_WEIGHTS, _MESSAGE, _HELD_OUT = 0x3E1647, 0x5EC4E7, 0x4E1D
SMALLEST = 25
"""Side in pixels of the smallest images: three halvings leave the four by four places that the decoder reads."""
MEASURED = 256
"""At most so many images are held out; of fewer than ten times as many, a tenth."""
CHUNK = 16
"""Images that are encoded at once: at 224 px more take longer, for want of cache."""
READABLE = 0.75
"""Bit accuracy below which a lesson has failed; chance is 0.5."""
_READABLE_LOSS = 0.35
"""Half of the cross-entropy of chance; about a tenth of the bits are read wrongly then."""
_RANGE_WEIGHT = 0.1
"""Of the mean square of what is clamped away: without it residuals grow until clamping leaves them no gradient."""


@component
class SSBA(LearnedTrigger):
    """Sample-specific trigger (Li et al. 2021, ICCV): StegaStamp (Tancik et al. 2020) hides a message in the image.

    From the image and a message an encoder makes a residual, which therefore differs between images; a decoder reads
    the message from the 8-bit sum of image and residual. Both learn together from random messages, the attack hides
    one and the same in all images. The loss is the binary cross-entropy of the bits plus the mean squared residual. The
    weight of the second rises from 0, as StegaStamp's does: before the first bits are read it would only teach the
    encoder to do nothing. StegaStamp waits 500 steps; here the weight rises in steps whose bits are read, and a small
    third term keeps sums near the range of pixels until then.

    Left out are StegaStamp's LPIPS term (it needs the weights of another network), its critic, the stronger loss near
    the borders, and the distortions of printing and photographing, for these images stay digital. Its squared error is
    one of YUV colors, here of RGB. The networks are smaller; see :mod:`bdray.attacks.steganography`.

    Where images and models are small, a residual that is hard to see is hard to learn too: ``strength``,
    ``image_weight`` and ``cell`` trade the one for the other.
    """

    type: Literal["ssba"] = "ssba"
    num_bits: int = Field(default=100, ge=1)
    """Length of the message; 100 in StegaStamp's published model."""
    message: Literal["fixed", "per_image"] = "fixed"
    """``fixed``: one message, drawn from the seed, in all images (the paper). ``per_image``: one for each sample."""
    width: int = Field(default=32, ge=1)
    """Channels of the networks at full resolution; 32 in StegaStamp."""
    cell: int = Field(default=1, ge=1)
    """Side in pixels of the squares that share one color of the residual; 1 is the paper's."""
    image_weight: float = Field(default=10.0, ge=0)
    """Final weight of the mean squared residual, over pixels and channels, against that of the bits, 1."""
    ramp: float = Field(default=0.6, gt=0, le=1)
    """Share of all steps in which the weight of the residual rises to its final value, counting from the first steps
    whose bits are read."""
    strength: float = Field(default=1.0, ge=0)
    """Factor on the residual when the trigger is applied; it is learned at 1."""

    def check(self, image_size: int) -> None:
        if image_size < SMALLEST:
            raise ConfigError(
                f"attack.trigger.type: ssba reads its message from images of at least {SMALLEST} px, but the data "
                f"set's have {image_size} px. Choose another trigger."
            )
        if self.cell > image_size // 4:
            raise ConfigError(
                f"attack.trigger.cell: squares of {self.cell} px leave fewer than four to a side of {image_size} px. "
                f"Choose at most {image_size // 4}."
            )

    def learn(self, lesson: Lesson) -> "tuple[State, History]":
        import torch

        from bdray.attacks.steganography import Steganography

        encoder, decoder = self._networks()
        model = Steganography(
            encoder.to_empty(device="cpu"), decoder.to_empty(device="cpu"), self.generator(_WEIGHTS)
        ).to(lesson.device)
        practice, held_out = self._samples(len(lesson.images))

        @torch.no_grad()
        def measure() -> "Mapping[str, float]":
            return self.with_state(_state(model)).measure(_pixels(lesson, held_out), torch.from_numpy(held_out))

        loss = self._loss(model, lesson, practice)
        history = fit(model, loss, self, range(len(practice)), lesson, after_epoch=measure)
        if history and history[-1]["bit_accuracy"] < READABLE:
            _log.warning(
                "trigger 'ssba': only %.0f%% of the bits can be read, where 50%% is chance. "
                "Give it more attack.trigger.epochs, or fewer num_bits.",
                100 * history[-1]["bit_accuracy"],
            )
        return _state(model), history

    def measure(self, images: "Tensor", samples: "Tensor") -> dict[str, float]:
        """How well messages are hidden and read, for a learned trigger.

        Args:
            images: Float [N, 3, H, W] in [0, 1].
            samples: Index of each image in its data set, int64 [N].

        Returns:
            ``bit_accuracy``: share of bits that are read from triggered images, a random message in each;
            ``psnr``: mean peak signal-to-noise ratio in dB of images with the attack's message, at most 100.
        """
        random = dataclasses.replace(self, message="per_image").with_state(self.state)
        bits = random.read(random.apply(images, samples))
        errors = (self.apply(images, samples) - images).square().mean((1, 2, 3)).clamp(min=1e-10)
        return {
            "bit_accuracy": (bits == random.messages(samples).to(bits)).float().mean().item(),
            "psnr": -10 * errors.log10().mean().item(),
        }

    def messages(self, samples: "Tensor") -> "Tensor":
        """What is hidden in each image: zeros and ones, float [N, num_bits], for samples int64 [N]."""
        import torch

        if self.message == "per_image":
            return noise.integers(self.seed, samples, 2, self.num_bits, _MESSAGE).float()
        fixed = torch.randint(2, (self.num_bits,), generator=self.generator(_MESSAGE)).float()
        return fixed.expand(len(samples), -1)

    def apply(self, images: "Tensor", samples: "Tensor") -> "Tensor":
        import torch

        from bdray.attacks.steganography import to_pixels

        encoder, _ = self._learned(images.device)
        messages, triggered = self.messages(samples).to(images), torch.empty_like(images)
        with torch.no_grad():
            for start in range(0, len(images), CHUNK):
                rows = slice(start, start + CHUNK)
                triggered[rows] = to_pixels(images[rows] + self.strength * encoder(images[rows], messages[rows]))
        return triggered

    def read(self, images: "Tensor") -> "Tensor":
        """The bits that the decoder reads from images, float [N, 3, H, W]: zeros and ones, float [N, num_bits]."""
        import torch

        _, decoder = self._learned(images.device)
        with torch.no_grad():
            return torch.cat([(decoder(part) > 0).float() for part in images.split(CHUNK)])

    def _networks(self) -> "tuple[Encoder, Decoder]":
        """Encoder and decoder without weights, so that none are drawn."""
        import torch

        from bdray.attacks.steganography import Decoder, Encoder

        with torch.device("meta"):
            return Encoder(self.num_bits, self.width, self.cell), Decoder(self.num_bits, self.width)

    def _learned(self, device: "torch.device") -> "tuple[Encoder, Decoder]":
        """Encoder and decoder with the learned weights, in eval mode; built once for each state and device."""
        built: _Built | None = self.__dict__.get("_built")
        if built is None or built[0] is not self.state or built[1] != device:
            networks = self._networks()
            for name, network in zip(("encoder.", "decoder."), networks, strict=True):
                own = {key.removeprefix(name): value for key, value in self.state.items() if key.startswith(name)}
                network.load_state_dict(own, assign=True)
                network.eval().requires_grad_(False).to(device)
            built = self.state, device, networks
            self.__dict__["_built"] = built  # beside the fields, as the state
        return built[2]

    def _samples(self, total: int) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
        """Sorted indices of the samples to learn from, and of those held out."""
        import numpy as np

        order = np.random.default_rng([self.seed, _HELD_OUT]).permutation(total)
        count = max(1, min(total // 10, MEASURED))
        return np.sort(draw(self, order[count:])), np.sort(order[:count])

    def _loss(
        self, model: "Steganography", lesson: Lesson, practice: "NDArray[np.int64]"
    ) -> "Callable[[Tensor, torch.Generator], Mapping[str, Tensor]]":
        import torch
        import torch.nn.functional as F

        from bdray.attacks.steganography import to_pixels

        total = self.epochs * (len(practice) // min(self.batch_size, len(practice)))

        def loss(rows: "Tensor", generator: "torch.Generator") -> "Mapping[str, Tensor]":
            images = _pixels(lesson, practice[rows.numpy()])
            bits = torch.randint(2, (len(rows), self.num_bits), generator=generator).to(images)
            residual = model.encoder(images, bits)
            encoded = (images + residual).clamp(0, 1)
            excess = (images + residual - encoded).square().mean()
            shown = encoded + (to_pixels(encoded) - encoded).detach()  # read from 8 bits, learned as if from all
            bit_loss = F.binary_cross_entropy_with_logits(model.decoder(shown), bits)
            image_loss = residual.square().mean()
            weight = self.image_weight * (model.readable_steps / (self.ramp * total)).clamp(max=1)
            model.readable_steps += bit_loss.detach() < _READABLE_LOSS
            combined = bit_loss + weight * image_loss + _RANGE_WEIGHT * excess
            return {"loss": combined, "bit_loss": bit_loss, "image_loss": image_loss}

        return loss


def _pixels(lesson: Lesson, samples: "NDArray[np.int64]") -> "Tensor":
    """Images of some samples, float [N, 3, H, W] in [0, 1] on the lesson's device."""
    import torch

    return torch.from_numpy(lesson.images[samples]).to(lesson.device).float() / 255


def _state(model: "Steganography") -> State:
    """Weights of encoder and decoder, rounded so that the encoder is exact."""
    from bdray.attacks.steganography import round_weights

    weights = {name: value for name, value in model.state_dict().items() if name != "readable_steps"}
    return {name: value.detach().cpu().contiguous() for name, value in round_weights(weights).items()}
