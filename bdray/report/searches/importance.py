"""Which knobs decide how good a point is, by PED-ANOVA, held against chance."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bdray.report.searches.points import Searched
from bdray.report.study import Axis, Level, Metric

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study as OptunaStudy

MIN_POINTS = 8
"""Below so many points nothing is said."""
SHUFFLES = 100
"""Random orders of the results that chance is judged by."""
CHANCE = 0.95


@dataclass(frozen=True)
class Importances:
    """What decides whether a point is among the best in one objective."""

    metric: Metric
    num_points: int
    num_best: int
    """Points that count as the best; ties count as well."""
    knobs: tuple[tuple[Axis, float, bool], ...]
    """Axis, its share of all importances, and whether this is beyond chance: more than any knob has in 95 of 100 random
    orders of the results. The largest first."""


def importances(found: Searched) -> tuple[Importances, ...]:
    """For each objective; none if :func:`refusal` has something to say.

    PED-ANOVA compares how each knob is distributed among the best points with how it is among all (Watanabe et al.,
    arXiv 2304.10255; for knobs that only some points have, arXiv 2601.20800; both in Optuna).
    """
    if refusal(found):
        return ()
    study = _study(found)
    return tuple(_of(study, found, index) for index in range(len(found.objectives)))


def refusal(found: Searched) -> str:
    """Why there are no importances, as a sentence; empty if there are."""
    count = len(found.complete)
    if count < MIN_POINTS:
        points = f"{count} finished point{'s' * (count != 1)}"
        return f"Importances of knobs need at least {MIN_POINTS} finished points, and there are {points}."
    if len(found.axes) < 2:
        return "With a single knob there is nothing to weigh against each other."
    return ""


def quantile(count: int) -> float:
    """The share of points that counts as the best: half of up to 48 points, a quarter of 96 or more.

    Few points need many among the best: of 12 simulated searches of 24 points and five knobs, the one that mattered
    most was found to be beyond chance in all with half of the points, in 9 with a quarter.
    """
    return min(max(0.25, 24 / count), 0.5)


def _of(study: "OptunaStudy", found: Searched, index: int) -> Importances:
    import numpy as np

    losses = [found.losses(tried)[index] for tried in found.complete]
    raw = _evaluate(study, losses)
    generator = np.random.default_rng(0)
    by_chance = [max(_evaluate(study, list(generator.permutation(losses))).values()) for _ in range(SHUFFLES)]
    limit = float(np.quantile(by_chance, CHANCE))
    total = sum(raw.values())
    cutoff = sorted(losses)[math.ceil(quantile(len(losses)) * len(losses)) - 1]
    shares = [(axis, raw.get(axis.field, 0.0)) for axis in found.axes]
    return Importances(
        metric=found.objectives[index],
        num_points=len(losses),
        num_best=sum(loss <= cutoff for loss in losses),
        knobs=tuple(
            (axis, value / total if total > 0 else 0.0, value > limit)
            for axis, value in sorted(shares, key=lambda pair: -pair[1])
        ),
    )


def _evaluate(study: "OptunaStudy", losses: Sequence[float]) -> dict[str, float]:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that low targets are good, and that few points make a rough estimate
        return get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile(len(losses))),
            target=lambda trial: losses[trial.number],
            normalize=False,
        )


def _study(found: Searched) -> "OptunaStudy":
    """The finished points as Optuna knows them, in memory; what they are worth is told apart."""
    import optuna

    columns = list(zip(*(tried.point for tried in found.complete), strict=True))
    spaces = [_space(axis, column) for axis, column in zip(found.axes, columns, strict=True)]
    study = _empty()
    for tried in found.complete:
        active = [
            (axis, space, level)
            for axis, space, level in zip(found.axes, spaces, tried.point, strict=True)
            if level is not None
        ]
        study.add_trial(
            optuna.trial.create_trial(
                params={axis.field: _value(axis, level) for axis, _, level in active},
                distributions={axis.field: space for axis, space, _ in active},
                value=0.0,
            )
        )
    return study


def _empty() -> "OptunaStudy":
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    optuna.logging.set_verbosity(level)
    return study


def _space(axis: Axis, column: Sequence[Level | None]) -> "BaseDistribution":
    """What a knob was chosen from; a range is widened by what was tried outside it, as known points may be."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.low is None or axis.high is None:
        levels = list(dict.fromkeys([*axis.levels, *(level for level in column if level is not None)]))
        return CategoricalDistribution(levels)
    numbers = [float(level) for level in column if level is not None]
    low, high = min([axis.low, *numbers]), max([axis.high, *numbers])
    is_log = axis.log and low > 0
    if axis.integer:
        return IntDistribution(math.floor(low), math.ceil(high), log=is_log)
    return FloatDistribution(low, high, log=is_log)


def _value(axis: Axis, level: Level) -> Any:
    return int(level) if axis.is_range and axis.integer else level
