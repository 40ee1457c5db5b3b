"""Networks that hide bits in images and read them back, in the manner of StegaStamp (Tancik et al. 2020).

They are small, fully convolutional but for the dense layers of the bits, and normalize nothing over a batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MAP, _POOLED = 16, 4
_WEIGHT_STEP, _ACTIVATION_STEP = 2.0**-9, 2.0**-8


class Encoder(nn.Module):
    """Makes the residual that writes bits into an image.

    A dense layer spreads the bits over a map, which joins the image as three more channels of a U-Net. It has three
    halvings instead of StegaStamp's four, so that 32 pixels do, and one convolution for each level of the way up.

    In eval mode an image's residual is the same to the bit in every batch, memory layout and number of threads:
    weights (by :func:`round_weights`) and activations are multiples of powers of two, coarse enough for float32 to hold
    all sums of products exactly, in whichever order a kernel adds. This costs the residual about 0.001.

    Args:
        num_bits: Length of a message.
        width: Channels at full resolution; four times as many at the lowest.
        cell: Side in pixels of the squares that share one color of the residual.
    """

    def __init__(self, num_bits: int, width: int, cell: int = 1) -> None:
        super().__init__()
        self.cell = cell
        self.spread = nn.Sequential(
            nn.Linear(num_bits, 3 * _MAP**2), nn.ReLU(), _Rounding(), nn.Unflatten(1, (3, _MAP, _MAP))
        )
        self.down0 = _convolution(6, width)
        self.down1 = _convolution(width, width, stride=2)
        self.down2 = _convolution(width, 2 * width, stride=2)
        self.down3 = _convolution(2 * width, 4 * width, stride=2)
        self.up2 = _convolution(6 * width, 2 * width)
        self.up1 = _convolution(3 * width, width)
        self.up0 = _convolution(2 * width + 6, width)
        self.residual = nn.Conv2d(width, 3, 1)
        self.rounding = _Rounding()

    def forward(self, images: Tensor, bits: Tensor) -> Tensor:
        """Residuals.

        Args:
            images: Float [N, 3, S, S] in [0, 1], of which 8 bits are seen.
            bits: Zeros and ones, float [N, num_bits].

        Returns:
            Float [N, 3, S, S] without bounds.
        """
        size = images.shape[-1]
        side = -(-size // self.cell)
        colors = F.interpolate((images * 255).round(), side, mode="area") / 255  # sums of whole numbers are exact too
        given = torch.cat([_resized(self.spread(2 * bits - 1), side), self.rounding(colors - 0.5)], 1)
        down0 = self.down0(given)
        down1 = self.down1(down0)
        down2 = self.down2(down1)
        up2 = self.up2(torch.cat([_resized(self.down3(down2), down2.shape[-1]), down2], 1))
        up1 = self.up1(torch.cat([_resized(up2, down1.shape[-1]), down1], 1))
        up0 = self.up0(torch.cat([_resized(up1, side), down0, given], 1))
        cells: Tensor = self.residual(up0)
        return cells.repeat_interleave(self.cell, 2).repeat_interleave(self.cell, 3)[..., :size, :size]


class Decoder(nn.Module):
    """Reads the bits; without StegaStamp's spatial transformer, for nobody takes photographs of these images.

    Args:
        num_bits: Length of a message.
        width: Channels of its first convolutions; four times as many in the last.
    """

    def __init__(self, num_bits: int, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _convolution(3, width, stride=2),
            _convolution(width, width),
            _convolution(width, 2 * width, stride=2),
            _convolution(2 * width, 2 * width),
            _convolution(2 * width, 4 * width, stride=2),
        )
        self.bits = nn.Sequential(nn.Linear(4 * width * _POOLED**2, 256), nn.ReLU(), nn.Linear(256, num_bits))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the bits, float [N, num_bits], for images in [0, 1], float [N, 3, S, S]."""
        features = self.features(images - 0.5)
        # Adaptive pooling would do for any size, but its gradient is not deterministic on a GPU.
        pooled = F.avg_pool2d(features, features.shape[-1] // _POOLED)[..., :_POOLED, :_POOLED]
        logits: Tensor = self.bits(pooled.flatten(1))
        return logits


class Steganography(nn.Module):
    """Encoder and decoder while they are trained together; He-normal weights, as StegaStamp's, and biases of 0.

    Args:
        encoder: Writes.
        decoder: Reads.
        generator: Of the first weights, on the CPU; no other randomness is used.
    """

    readable_steps: Tensor
    """Training steps whose bits could be read, int64 []; kept with the weights, for a training that is resumed."""

    def __init__(self, encoder: Encoder, decoder: Decoder, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.register_buffer("readable_steps", torch.zeros((), dtype=torch.int64))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)


def round_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as :class:`Encoder` needs them in order to be exact."""
    return {name: _rounded(value, _WEIGHT_STEP) for name, value in tensors.items()}


def to_pixels(images: Tensor) -> Tensor:
    """Images clamped to [0, 1] and rounded to 8 bits."""
    return (images.clamp(0, 1) * 255).round() / 255


class _Rounding(nn.Module):
    """Rounds activations in eval mode; a training needs their gradients, and no exact sums."""

    def forward(self, activations: Tensor) -> Tensor:
        return activations if self.training else _rounded(activations, _ACTIVATION_STEP)


def _rounded(values: Tensor, step: float) -> Tensor:
    return (values / step).round() * step


def _convolution(channels: int, filters: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, filters, 3, stride, padding=1), nn.ReLU(), _Rounding())


def _resized(maps: Tensor, side: int) -> Tensor:
    """Nearest neighbors, whose gradient is deterministic on a GPU too."""
    return maps if maps.shape[-1] == side else F.interpolate(maps, side)
