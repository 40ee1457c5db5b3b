"""What every metric keeps: finite numbers under names that are its own, from features that it leaves alone."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from bdray.evaluation.metrics.base import Features, Metric
from bdray.testing import example, tiny_material

MEMBERS = [pytest.param(member, id=name) for name, member in Metric.members().items()]
every_metric = pytest.mark.parametrize("member", MEMBERS)


def features(count: int = 40, classes: int = 16, dtype: torch.dtype = torch.float32, seed: int = 0) -> Features:
    generator = torch.Generator().manual_seed(seed)

    def rows(number: int) -> torch.Tensor:
        return F.normalize(torch.randn(number, 16, generator=generator, dtype=torch.float64), dim=-1).to(dtype)

    images = torch.rand(2, count, 3, 32, 32, generator=generator)
    return Features(
        clean=rows(count),
        triggered=rows(count),
        classes=rows(classes),
        labels=torch.arange(count) % classes,
        target=2,
        pixels=lambda positions: (images[0, positions], images[1, positions]),
        clean_lengths=torch.rand(count, generator=generator) + 1,
        triggered_lengths=torch.rand(count, generator=generator) + 1,
        captions=[f"a photo of scene {index // 2}" for index in range(count)],
        class_names=[f"class {index}" for index in range(classes)],
        material=tiny_material(seed),
    )


def make(member: type[Metric]) -> Metric:
    metric = example(member)
    assert isinstance(metric, Metric)
    return metric


@every_metric
@pytest.mark.parametrize("count", [16, 40, 1000])
def test_it_measures_finite_numbers(member: type[Metric], count: int) -> None:
    numbers = make(member).measure(features(count))
    # At least one plain float, under a name fit for MLflow and tables; a JSON manifest cannot hold NaN.
    assert numbers
    assert all(type(value) is float and math.isfinite(value) for value in numbers.values())
    assert all(name.isidentifier() and name == name.lower() for name in numbers)
    # Which names, is known before anything is measured: a search's constraints are checked against them.
    assert sorted(numbers) == sorted(make(member).names)


@every_metric
def test_it_measures_what_it_is_given(member: type[Metric]) -> None:
    given, twin = features(), features()
    numbers = make(member).measure(given)
    # The same features, the same numbers; other features, others.
    assert make(member).measure(twin) == numbers
    assert make(member).measure(features(seed=1)) != numbers
    # Features are shared by all metrics, so none may change them.
    for field in ("clean", "triggered", "classes", "labels"):
        assert torch.equal(getattr(given, field), getattr(twin, field))


@every_metric
def test_names_do_not_depend_on_the_features(member: type[Metric]) -> None:
    # Every epoch, trial and study has the same columns.
    names = {frozenset(make(member).measure(features(count, classes))) for count, classes in ((40, 16), (99, 30))}
    assert len(names) == 1


@every_metric
def test_it_takes_half_precision_as_the_gpu_gives_it(member: type[Metric]) -> None:
    exact, half = make(member).measure(features()), make(member).measure(features(dtype=torch.bfloat16))
    # The numbers are the same but for rounding.
    assert half == pytest.approx(exact, abs=0.1)


@every_metric
def test_it_leaves_the_files_that_it_says(member: type[Metric], tmp_path: Path) -> None:
    plain, filed = features(), replace(features(), folder=tmp_path)
    # Just those, in the folder that it is given; they are on top of the numbers and do not change them.
    assert make(member).measure(filed) == make(member).measure(plain)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(make(member).files)


@every_metric
def test_it_does_without_a_model(member: type[Metric]) -> None:
    bare = replace(features(), material=None, pixels=None, clean_lengths=None, triggered_lengths=None)
    # Where only features are at hand, it measures what it can of them, or nothing.
    assert make(member).measure(bare).keys() <= set(make(member).names)


def test_no_two_metrics_use_one_name() -> None:
    names = [name for member in Metric.members().values() for name in example(member).measure(features())]  # type: ignore[attr-defined]
    assert len(names) == len(set(names))
