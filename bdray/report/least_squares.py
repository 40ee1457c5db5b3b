"""Least squares for the laws of a size.

Ends of a law enter linearly, so a fit searches the shape alone and solves for the ends (variable projection, Golub &
Pereyra 1973), from the best of a grid of shapes rather than from a guess.
"""

import math
from itertools import product
from typing import TYPE_CHECKING

from bdray.report.laws import Ends, Fit, Law, Levels, evaluate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

POWERS = (1e-4, 30.0)
"""Limits of b in units of the range of ln x. A smaller one is a logarithm, a larger one a step behind one size."""
LOGIT = 12.0
"""Limit of a logistic's logits at the smallest and at the largest size: beyond, it has reached its ends."""
FLAT = 1e-9
"""Difference of these logits below which a logistic is taken for this flat."""


def fit(law: Law, levels: Levels, *, is_rate: bool, held: Ends | None = None) -> Fit | None:
    """Weighted least squares, with the ends of rates kept within 0 and 1.

    Args:
        law: What to fit.
        levels: At least one; at least two unless the law is flat.
        is_rate: Whether the metric is a fraction.
        held: One of the law's ways to hold its ends; by default the best of them.

    Returns:
        None if the search did not converge.
    """
    import numpy as np

    y, w = np.array(levels.means), np.array(levels.weights, dtype=float)
    if law.shape == "flat":
        mean = float(np.average(y, weights=w))
        return Fit(law, (mean, mean), (), math.log(levels.sizes[0]), is_rate, law.ends[0])
    tried = [_search(law, levels, is_rate, ends) for ends in (law.ends if held is None else (held,))]
    found = [one for one in tried if one is not None]
    return min(found, key=lambda one: one[0])[1] if len(found) == len(tried) else None


def _search(law: Law, levels: Levels, is_rate: bool, held: Ends) -> tuple[float, Fit] | None:
    """Sum of squares and fit for one way to hold the ends."""
    import numpy as np
    from scipy.optimize import minimize

    u, y, w = np.log(levels.sizes), np.array(levels.means), np.array(levels.weights, dtype=float)
    origin, reach = float(u[0]), float(u[-1] - u[0])
    box = (0.0, 1.0) if is_rate else (-math.inf, math.inf)
    if law.shape == "power":
        bounds, counts = [(math.log(POWERS[0]), math.log(POWERS[1]))], [120]
    else:
        bounds, counts = [(-LOGIT, LOGIT)] * 2, [32, 33]  # two counts, so that no curve of the grid is flat

    def shapes(points: "Floats") -> "Floats":
        """From coordinates of the search, ln b or two logits, to shapes, [K, P]."""
        if law.shape == "power":
            return np.exp(points) / reach
        first, rise = points[:, 0], points[:, 1] - points[:, 0]
        rise = np.where(np.abs(rise) < FLAT, FLAT, rise)
        return np.stack([-first / rise, 1 / rise], axis=1) * reach

    def solve(points: "Floats") -> "tuple[Floats, Floats]":
        return project(evaluate(law, u - origin, shapes(points)), y, w, held, box)

    axes = [np.linspace(low, high, count) for (low, high), count in zip(bounds, counts, strict=True)]
    grid = np.array(list(product(*axes)))
    scale = float(w @ (y - np.average(y, weights=w)) ** 2) or 1.0
    found = minimize(
        lambda point: float(solve(point[None])[1][0]) / scale,
        grid[int(np.argmin(solve(grid)[1]))],
        method="Nelder-Mead",
        bounds=bounds,
        options={"xatol": 1e-8, "fatol": 1e-14, "maxiter": 2000},
    )
    if not found.success:
        return None
    (ends,), (squares,) = solve(found.x[None])
    at_limit = any(min(x - low, high - x) < 1e-3 * (high - low) for x, (low, high) in zip(found.x, bounds, strict=True))
    pair, shape = (float(ends[0]), float(ends[1])), tuple(map(float, shapes(found.x[None])[0]))
    if law.shape == "logistic" and held[0] is None and shape[1] < 0:  # the same curve, told from its other end
        pair, shape = (pair[1], pair[0]), (shape[0], -shape[1])
    return float(squares), Fit(law, pair, shape, origin, is_rate, held, at_limit)


def project(g: "Floats", y: "Floats", w: "Floats", held: Ends, box: tuple[float, float]) -> "tuple[Floats, Floats]":
    """The best ends for every shape.

    A convex problem in at most two unknowns: its optimum is the free one if that lies within the box, else it lies on
    an edge.

    Args:
        g: Shapes, [K, N].
        y: Means, [N].
        w: Weights, [N].
        held: What the ends are held at: neither, e0, or both.
        box: Bounds of free ends.

    Returns:
        Ends [K, 2] and sums of squares [K].
    """
    import numpy as np

    low, high = 1 - g, g

    def other(own: "Floats", rest: "Floats", value: float) -> "Floats":
        """The free end, whose factor is ``own``, where the other one is held at ``value``."""
        size = np.maximum((w * own * own).sum(1), 1e-300)
        end: Floats = (w * own * (y - rest * value)).sum(1) / size
        return end.clip(*box)

    def pairs(first: "float | Floats", second: "float | Floats") -> "Floats":
        return np.stack([np.broadcast_to(first, len(g)), np.broadcast_to(second, len(g))], axis=1)

    if held[0] is not None:
        tried = [pairs(held[0], other(high, low, held[0]) if held[1] is None else held[1])]
    else:
        tried = [_free_ends(low, high, y, w)]
        for edge in box if math.isfinite(box[0]) else ():
            tried += [pairs(edge, other(high, low, edge)), pairs(other(low, high, edge), edge)]
    ends = np.stack(tried)
    squares = (w * (y - ends[..., :1] * low - ends[..., 1:] * high) ** 2).sum(-1)
    is_allowed = ((ends >= box[0]) & (ends <= box[1])).all(-1)
    best, rows = np.argmin(np.where(is_allowed, squares, np.inf), axis=0), np.arange(len(g))
    chosen: Floats = ends[best, rows]
    return chosen, squares[best, rows]


def _free_ends(low: "Floats", high: "Floats", y: "Floats", w: "Floats") -> "Floats":
    """Both ends from the normal equations, [K, 2]; a shape that is flat where it was measured tells the mean only."""
    import numpy as np

    aa, ab, bb = ((w * one * two).sum(1) for one, two in ((low, low), (low, high), (high, high)))
    ay, by = ((w * one * y).sum(1) for one in (low, high))
    determinant = aa * bb - ab * ab
    is_flat = determinant <= 1e-13 * aa * bb
    safe = np.where(is_flat, 1.0, determinant)
    ends = np.stack([(bb * ay - ab * by) / safe, (aa * by - ab * ay) / safe], axis=1)
    return np.where(is_flat[:, None], np.average(y, weights=w), ends)
