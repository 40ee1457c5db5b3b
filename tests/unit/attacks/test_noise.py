"""Counted noise: the hash, what is made of it, and that nothing but seed, salt, sample and position decides."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from bdray.attacks.triggers import noise
from bdray.evaluation.zero_shot import EVALUATION_SAMPLES

SAMPLES = torch.tensor([0, 1, 2, 255, 256, 2**31, 2**32, 2**32 + 1, EVALUATION_SAMPLES, EVALUATION_SAMPLES + 1, 2**62])
COUNT = 20_000


def lowbias32(word: int) -> int:
    """The hash as published, in whole numbers without limit."""
    word = (word ^ (word >> 16)) * 0x7FEB352D & 0xFFFFFFFF
    word = (word ^ (word >> 15)) * 0x846CA68B & 0xFFFFFFFF
    return word ^ (word >> 16)


def reference(seed: int, sample: int, position: int, *salt: int) -> float:
    """One uniform value, computed alone and without torch."""
    key = noise.START + len(salt)
    for number in (seed, *salt, sample):
        key = lowbias32(lowbias32(key ^ (number & 0xFFFFFFFF)) ^ (number >> 32))
    return (lowbias32(lowbias32(position) ^ key) >> 8) / 2**24


def correlations(values: Tensor) -> Tensor:
    """Between all pairs of different rows, float [pairs]."""
    found = torch.corrcoef(values.double())
    return found[tuple(torch.triu_indices(len(found), len(found), offset=1))]


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, 2**32, 2**63])
@pytest.mark.parametrize("salt", [(), (0,), (3, 2**40)])
def test_values_are_those_of_the_hash(seed: int, salt: tuple[int, ...]) -> None:
    found = noise.uniform(seed, SAMPLES, 300, *salt)
    # Wrapping 32-bit arithmetic on tensors gives to the bit what whole numbers without limit give.
    for row, position in itertools.product(range(len(SAMPLES)), (0, 1, 2, 17, 299)):
        assert found[row, position].item() == reference(seed, int(SAMPLES[row]), position, *salt)


def test_a_value_does_not_depend_on_its_batch() -> None:
    # A count at which several samples share a chunk, one at which a sample fills a chunk, and one larger than a chunk.
    for count in (10, 1000, noise.CPU_CHUNK, noise.CPU_CHUNK + 7):
        whole = noise.uniform(1, SAMPLES, count)
        assert torch.equal(noise.uniform(1, SAMPLES.flip(0), count).flip(0), whole)
        for row in range(len(SAMPLES)):
            assert torch.equal(noise.uniform(1, SAMPLES[row, None], count)[0], whole[row])
        # The first values are the same, however many are asked for.
        assert torch.equal(noise.uniform(1, SAMPLES, 5), whole[:, :5])
    # Nor do normal values and whole numbers.
    for row in range(len(SAMPLES)):
        assert torch.equal(noise.normal(1, SAMPLES[row, None], 99)[0], noise.normal(1, SAMPLES, 99)[row])
        assert torch.equal(noise.integers(1, SAMPLES[row, None], 9, 99)[0], noise.integers(1, SAMPLES, 9, 99)[row])


def test_no_samples_and_no_values() -> None:
    assert noise.uniform(0, SAMPLES[:0], 5).shape == (0, 5)
    assert noise.uniform(0, SAMPLES, 0).shape == (len(SAMPLES), 0)
    assert noise.normal(0, SAMPLES[:0], 5).shape == (0, 5)


def test_uniform_is_uniform() -> None:
    values = noise.uniform(0, SAMPLES, COUNT)
    assert values.dtype == torch.float32
    assert values.min() >= 0
    assert values.max() < 1
    # Kolmogorov and Smirnov's distance of each sample, and of all together, stays below the bound for p = 1e-6.
    for part in (*values, values.flatten()):
        ranks = torch.arange(1, part.numel() + 1) / part.numel()
        assert (part.sort().values - ranks).abs().max() < 2.7 / math.sqrt(part.numel())
    # Each of the 24 bits is set half of the time, apart from chance (6 standard deviations).
    bits = (values.double() * 2**24).long()
    for bit in range(24):
        share = (bits >> bit & 1).double().mean().item()
        assert share == pytest.approx(0.5, abs=3 / math.sqrt(bits.numel()))


def test_samples_are_independent() -> None:
    # Neighbors, equal low words, equal high words, training and evaluation: as little alike as chance allows.
    assert correlations(noise.uniform(0, SAMPLES, COUNT)).abs().max() < 5.5 / math.sqrt(COUNT)
    assert correlations(noise.uniform(0, torch.arange(200), COUNT)).abs().max() < 5.5 / math.sqrt(COUNT)


def test_seeds_and_salts_are_independent() -> None:
    uses = [(0,), (1,), (2**32,), (2**32 + 1,), (2**63,), (0, 0), (0, 1), (1, 0), (0, 2**32), (0, 0, 0), (0, 0, 1)]
    values = torch.cat([noise.uniform(seed, SAMPLES[:1], COUNT, *salt) for seed, *salt in uses])
    # Also where they differ in the high word alone, or in the number of zeros.
    assert correlations(values).abs().max() < 5.5 / math.sqrt(COUNT)


def test_positions_are_independent() -> None:
    values = noise.uniform(3, torch.arange(20_000), 60)
    # Each position over all samples against each other one,
    assert correlations(values.T).abs().max() < 5.5 / math.sqrt(20_000)
    # and each value against those after it, at distances that make rows and planes of images.
    for sample in (0, EVALUATION_SAMPLES):
        row = noise.uniform(0, torch.tensor([sample]), 3 * 224 * 224)[0] - 0.5
        for lag in (1, 2, 3, 16, 32, 224, 225, 256, 32 * 32, 224 * 224):
            covariance = (row[:-lag] * row[lag:]).mean().item() * 12
            assert abs(covariance) < 5.5 / math.sqrt(len(row) - lag)


def test_normal_is_normal() -> None:
    values = noise.normal(0, SAMPLES, COUNT).flatten().double()
    # Mean, variance, and the third and fourth moment of N(0, 1), within 5 standard deviations of their estimates.
    for power, expected, spread in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
        bound = 5 * math.sqrt(spread / len(values))
        assert values.pow(power).mean().item() == pytest.approx(expected, abs=bound)
    # The whole distribution, by the distance to its integral.
    ranks = torch.arange(1, len(values) + 1) / len(values)
    assert (torch.special.ndtr(values.sort().values) - ranks).abs().max() < 2.7 / math.sqrt(len(values))
    # Samples are independent here too.
    assert correlations(values.view(len(SAMPLES), -1)).abs().max() < 5.5 / math.sqrt(COUNT)


@pytest.mark.parametrize("high", [1, 2, 7, 209, 65_536])
def test_integers_are_uniform(high: int) -> None:
    values = noise.integers(0, torch.arange(50_000), high, 2)
    assert values.dtype == torch.int64
    assert values.min() >= 0
    assert values.max() < high
    # Chi-squared over (at most 64) classes is what it should be, within 6 standard deviations.
    classes = min(high, 64)
    bounds = [-(-high * number // classes) for number in range(classes + 1)]
    expected = torch.tensor([upper - lower for lower, upper in itertools.pairwise(bounds)]) / high * 100_000
    counts = torch.histogram(values.flatten().float(), torch.tensor(bounds) - 0.5).hist
    assert ((counts - expected) ** 2 / expected).sum() < classes + 6 * math.sqrt(2 * classes)


def test_enlarged_noise_has_squares_of_one_value() -> None:
    values = torch.arange(9.0).view(3, 3)
    expected = values.repeat_interleave(4, 0).repeat_interleave(4, 1)[:10, :10]
    # 10 is no multiple of 4: the last cells are cut.
    assert torch.equal(noise.enlarge(values, 4, 10), expected)
    assert torch.equal(noise.enlarge(values.expand(2, 5, 3, 3), 4, 10), expected.expand(2, 5, 10, 10))
    assert torch.equal(noise.enlarge(values, 1, 3), values)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_values_do_not_depend_on_the_device() -> None:
    # The same bits on a GPU, for what goes into images and for where it goes.
    for made in (noise.uniform, noise.normal):
        assert torch.equal(made(1, SAMPLES.cuda(), COUNT).cpu(), made(1, SAMPLES, COUNT))
    assert torch.equal(noise.integers(1, SAMPLES.cuda(), 209, 2).cpu(), noise.integers(1, SAMPLES, 209, 2))
