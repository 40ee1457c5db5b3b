"""Random: points drawn independently of what earlier ones gave."""

from typing import TYPE_CHECKING, Literal

from bdray.registry import component
from bdray.study.search.sampled import SampledSearch

if TYPE_CHECKING:
    import optuna

STRIDE = 10_007
"""Between the seeds of two drivers of one search, so that neither repeats the other's choices."""


@component
class RandomSearch(SampledSearch):
    """Draws every point at random, whatever the others gave."""

    type: Literal["random"] = "random"

    @property
    def method(self) -> str:
        return "random"

    def make_sampler(self, seed: int, run: int) -> "optuna.samplers.BaseSampler":
        import optuna

        return optuna.samplers.RandomSampler(seed=seed + STRIDE * run)
