"""Laws of how a metric moves with a size.

All of them are a curve between two ends, ``y = e0 + (e1 - e0) g(ln x)``, whose shape g has at most two parameters.
``bdray.report.least_squares`` fits them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Ends = tuple[float | None, float | None]
"""What e0 and e1 are held at; None where an end is free."""


@dataclass(frozen=True)
class Levels:
    """What is fitted: the mean of a metric at each size."""

    sizes: tuple[float, ...]
    """Positive, ascending."""
    means: tuple[float, ...]
    weights: tuple[float, ...]
    """Seeds behind each mean."""

    def __len__(self) -> int:
        return len(self.sizes)

    def without(self, index: int) -> "Levels":
        """All levels but one."""
        columns = (self.sizes, self.means, self.weights)
        return Levels(*(column[:index] + column[index + 1 :] for column in columns))


@dataclass(frozen=True)
class Law:
    """A family of curves."""

    name: str
    formula: str
    shape: Literal["flat", "power", "logistic"]
    num_parameters: int
    ends: tuple[Ends, ...] = ((None, None),)
    """Ways to hold its ends, of which a fit takes the best."""
    for_rates: bool | None = None
    """Whether it is for rates only (True), for everything else only (False), or for both (None)."""


LOGISTIC = "1/(1 + exp(−(ln x − ln m)/s))"
CONSTANT = Law("constant", "y = c", "flat", 1)
LAWS = (
    CONSTANT,
    Law("power law to 0", "y = a·x^(−b)", "power", 2, ((0.0, None),), for_rates=False),
    Law("power law to 0 or 1", "y = a·x^(−b) or 1 − a·x^(−b)", "power", 2, ((0.0, None), (1.0, None)), for_rates=True),
    Law("logistic between 0 and 1", f"y = {LOGISTIC}", "logistic", 2, ((0.0, 1.0),), for_rates=True),
    Law("saturating power law", "y = c + a·x^(−b)", "power", 3),
    Law("logistic", f"y = start + (end − start)·{LOGISTIC}", "logistic", 4, for_rates=True),
)
"""Simplest first. Those of two parameters are the saturating power law and the logistic with their ends held at the
bounds of the metric: all that few levels can tell."""


@dataclass(frozen=True)
class Fit:
    """A law with its parameters."""

    law: Law
    ends: tuple[float, float]
    """e0 and e1: limit of a power law at large sizes and its value at the origin; start and end of a logistic."""
    shape: tuple[float, ...]
    """b; or ln m above the origin, and s, which is negative where a logistic with held ends falls."""
    origin: float
    """ln of the smallest size that was fitted."""
    is_rate: bool
    held: Ends
    """How the ends were held."""
    is_at_limit: bool = False
    """Whether the shape ended where the search ends: the sizes do not tell it."""

    def predict(self, sizes: "Sequence[float] | Floats") -> "Floats":
        """The curve at some sizes; a rate stays within 0 and 1."""
        import numpy as np

        g = evaluate(self.law, np.log(np.asarray(sizes, dtype=float)) - self.origin, np.array([self.shape]))[0]
        curve: Floats = self.ends[0] + (self.ends[1] - self.ends[0]) * g
        return curve.clip(0.0, 1.0) if self.is_rate else curve

    @property
    def parameters(self) -> dict[str, float]:
        """By the names of the law's formula; m is a size."""
        e0, e1 = self.ends
        is_free = self.held[0] is None
        if self.law.shape == "flat":
            return {"c": e0}
        if self.law.shape == "logistic":
            midpoint = {"m": math.exp(min(self.origin + self.shape[0], 700.0)), "s": self.shape[1]}
            return {"start": e0, "end": e1, **midpoint} if is_free else midpoint
        amplitude = (e1 - e0) * math.exp(self.shape[0] * self.origin)
        return {"c": e0, "a": amplitude, "b": self.shape[0]} if is_free else {"a": abs(amplitude), "b": self.shape[0]}


def evaluate(law: Law, u: "Floats", shapes: "Floats") -> "Floats":
    """The values of g.

    Args:
        law: Which law.
        u: ln x above the origin, [N].
        shapes: As in :attr:`Fit.shape`, one row per curve, [K, P].

    Returns:
        [K, N].
    """
    import numpy as np

    if law.shape == "flat":
        return np.zeros((len(shapes), len(u)))
    if law.shape == "power":
        return np.exp(np.minimum(-shapes[:, :1] * u, 700.0))
    from scipy.special import expit

    return np.asarray(expit((u - shapes[:, :1]) / shapes[:, 1:]))
