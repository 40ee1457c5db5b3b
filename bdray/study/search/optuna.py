"""Optuna: points chosen by what earlier points gave."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.exceptions import ConfigError
from bdray.registry import component
from bdray.study.search.random import STRIDE
from bdray.study.search.sampled import SampledSearch
from bdray.study.space import Axis

if TYPE_CHECKING:
    import optuna

NEEDS = {"gp": ("scipy", "torch"), "qmc": ("scipy",)}
"""Packages that samplers use and Optuna does not bring."""


@component
class OptunaSearch(SampledSearch):
    """Search with one of Optuna's samplers, for one objective or for several at once.

    ``tpe``: tree-structured Parzen estimator, also multi-objective (Watanabe 2023, arXiv 2304.11127). ``nsga2``:
    genetic (Deb et al. 2002), for many points. ``gp``: Gaussian processes with expected (hypervolume) improvement, for
    few and costly points. ``qmc``: a scrambled Sobol sequence, which fills the space evenly. ``random``: see
    RandomSearch.
    """

    type: Literal["optuna"] = "optuna"
    sampler: Literal["tpe", "nsga2", "gp", "qmc", "random"] = "tpe"
    """Optuna's sampler. An axis that only some points turn is drawn at random by gp and qmc."""
    num_startup: int = Field(default=10, ge=2)
    """Points drawn at random before tpe or gp goes by results; the size of a generation of nsga2."""

    @property
    def method(self) -> str:
        return f"optuna, {self.sampler}"

    def check(self, axes: Mapping[str, Axis], metrics: Mapping[str, str]) -> None:
        missing = [name for name in NEEDS.get(self.sampler, ()) if find_spec(name) is None]
        if missing:
            raise ConfigError(
                f"search.sampler: {self.sampler} needs {' and '.join(missing)}, which is not installed. Install it, or "
                "take tpe."
            )
        super().check(axes, metrics)

    def make_sampler(self, seed: int, run: int) -> "optuna.samplers.BaseSampler":
        from optuna import samplers

        own = seed + STRIDE * run
        alone = samplers.RandomSampler(seed=own)
        match self.sampler:
            case "tpe":
                return samplers.TPESampler(seed=own, n_startup_trials=self.num_startup)
            case "nsga2":
                return samplers.NSGAIISampler(seed=own, population_size=self.num_startup)
            case "gp":
                return samplers.GPSampler(
                    seed=own,
                    n_startup_trials=self.num_startup,
                    independent_sampler=alone,
                    warn_independent_sampling=False,
                )
            case "qmc":  # one sequence, whose place is in the history, for all drivers
                return samplers.QMCSampler(
                    seed=seed, scramble=True, independent_sampler=alone, warn_independent_sampling=False
                )
            case "random":
                return alone
