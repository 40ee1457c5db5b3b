"""Encoder and decoder: shapes, exact arithmetic, where their first weights come from. Learning is in test_ssba."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdray.attacks.steganography import Decoder, Encoder, Steganography, round_weights, to_pixels

BITS = torch.randint(2, (5, 20), generator=torch.Generator().manual_seed(0)).float()


def pixels(size: int) -> Tensor:
    noise = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    return torch.cat([to_pixels(noise), torch.zeros(1, 3, size, size), torch.ones(1, 3, size, size)])


def networks(width: int = 8, cell: int = 1, seed: int = 0) -> Steganography:
    generator = torch.Generator().manual_seed(seed)
    model = Steganography(Encoder(20, width, cell), Decoder(20, width), generator)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias"):  # 0 before a training, but not after it
                value.add_(torch.randn(value.shape, generator=generator), alpha=0.1)
    return model


def ready(width: int, cell: int) -> Encoder:
    encoder = networks(width, cell).encoder.eval()
    encoder.load_state_dict(round_weights(encoder.state_dict()))
    return encoder


@pytest.mark.parametrize("size", [25, 32, 37, 100, 224])
@pytest.mark.parametrize("cell", [1, 2, 5])
@torch.no_grad()
def test_images_of_any_size(size: int, cell: int) -> None:
    model = networks(cell=cell)
    images = pixels(size)
    # Also where halves and squares do not come out even.
    assert model.encoder(images, BITS).shape == images.shape
    assert model.decoder(images).shape == BITS.shape


@pytest.mark.parametrize("cell", [1, 3])
@pytest.mark.parametrize("size", [32, 100])
@torch.no_grad()
def test_sums_are_exact(size: int, cell: int) -> None:
    encoder, images = ready(24, cell), pixels(size)
    single = encoder(images, BITS)
    doubled = encoder.double()(images.double(), BITS.double())
    # Twice the digits change nothing, so neither does the order in which a kernel adds.
    assert torch.equal(single.double(), doubled)


@pytest.mark.parametrize("cell", [1, 3])
@torch.no_grad()
def test_an_images_residual_is_its_own(cell: int) -> None:
    encoder, images = ready(24, cell), pixels(100)
    together = encoder(images, BITS)
    for rows in (slice(0, 1), slice(1, 4), slice(2, 5)):
        # In any batch and layout, whichever kernels these are given to.
        assert torch.equal(encoder(images[rows], BITS[rows]), together[rows])
        laid_out = images[rows].contiguous(memory_format=torch.channels_last)
        assert torch.equal(encoder(laid_out, BITS[rows]), together[rows])


@torch.no_grad()
def test_rounding_costs_little() -> None:
    model, images = networks(24), pixels(32)
    plain = model.encoder(images, BITS)
    rounded = ready(24, 1)(images, BITS)
    # A few percent of what random networks make.
    assert 0 < (rounded - plain).std() < 0.03 * plain.std()


@torch.no_grad()
def test_the_margin_of_exactness() -> None:
    encoder, images = ready(24, 1), pixels(100)
    largest: list[float] = []

    def sum_of_magnitudes(layer: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            sums = F.conv2d(given[0].abs(), layer.weight.abs(), None, layer.stride, layer.padding)
            largest.append(sums.max().item())

    for layer in encoder.modules():
        layer.register_forward_hook(sum_of_magnitudes)
    encoder(images, BITS)
    # Products are multiples of 2^-17, of which float32's 24 bits hold any sum below 2^7.
    assert len(largest) == 8
    assert max(largest) < 2**7


def test_first_weights_come_from_the_generator_alone() -> None:
    torch.manual_seed(0)
    first = Steganography(Encoder(20, 8), Decoder(20, 8), torch.Generator().manual_seed(0)).state_dict()
    torch.manual_seed(1)
    again = Steganography(Encoder(20, 8), Decoder(20, 8), torch.Generator().manual_seed(0)).state_dict()
    other = Steganography(Encoder(20, 8), Decoder(20, 8), torch.Generator().manual_seed(1)).state_dict()
    weight = "decoder.bits.0.weight"
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first[weight], other[weight])
    # He-normal: a variance of 2 over the inputs, here 32 channels in 4 x 4 places.
    assert first[weight].std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)
    assert not first["encoder.residual.bias"].any()


def test_to_pixels() -> None:
    found = to_pixels(torch.tensor([-1.0, 0.0, 0.4 / 255, 0.6 / 255, 200 / 255, 1.0, 7.0]))
    # To the nearest of 256 levels, and never out of range.
    assert (found * 255).tolist() == pytest.approx([0, 0, 0, 1, 200, 255, 255], abs=1e-4)


def test_gradients_reach_every_weight() -> None:
    model = networks()
    images = pixels(32)
    logits = model.decoder((images + model.encoder(images, BITS)).clamp(0, 1))
    F.binary_cross_entropy_with_logits(logits, BITS).backward()
    # A training needs no rounding, which has no gradient.
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in model.parameters())
