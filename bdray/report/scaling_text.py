"""What a scaling study found, in sentences computed from its fits."""

from collections.abc import Sequence

from bdray.report.scaled_series import Series
from bdray.report.scaling import MIN_LEVELS, Bootstrap, Candidate, how_far, near_best
from bdray.report.scaling_tables import show_error, show_parameters
from bdray.report.study import show_level

FEW_LEVELS = 6
"""Below so many sizes a test by leaving one out says little."""
FEW_SEEDS = 6
"""Below so many seeds a percentile bootstrap is too narrow to pass without a word."""


def describe_scaling(series: Sequence[Series]) -> list[str]:
    """A paragraph for each measured series; published ones are in the tables only."""
    return [_describe(one) for one in series if one.kind != "published"]


def _describe(one: Series) -> str:
    scaled = one.scaled
    found = f"no law is fitted: {scaled.problem}."
    if scaled.chosen is not None:
        found = f"{_choice(one, scaled.chosen)}{_read_off(one)}"
    left_out = ", ".join(map(show_level, scaled.left_out))
    note = (
        f" Left out, for the logarithm of a size that is not positive is not defined: {left_out}." if left_out else ""
    )
    return f"{one.metric.label} ({one.name}): {found}{note}"


def _choice(one: Series, chosen: Candidate) -> str:
    levels, metric = one.scaled.levels, one.metric
    if len(set(levels.means)) == 1:
        return f"{metric.say_value(levels.means[0])} at all {len(levels)} sizes."
    racing = sorted((c for c in one.scaled.candidates if c.errors), key=lambda candidate: candidate.error)
    rivals = [c for c in racing if c is not chosen]
    shown = list(dict.fromkeys([*rivals[:1], *(c for c in rivals if c.law.shape == "flat")]))
    others = "; ".join(f"{candidate.law.name}: {show_error(metric, candidate)}" for candidate in shown)
    errors = f"{show_error(metric, chosen)} on average" + (f" ({others})" if others else "")
    if chosen.law.shape == "flat":
        head = "no law beats a constant by more than a standard error"
    else:
        head = f"of {len(racing)} laws the {chosen.law.name} is " + (
            "the best" if chosen is racing[0] else "the simplest within a standard error of the best"
        )
    return f"{head}. It misses sizes that were held out by {errors}. Parameters: {show_parameters(one, chosen)}."


def _read_off(one: Series) -> str:
    """The law beyond the data, and how far that is."""
    parts = [
        f"{show_level(size)} ({how_far(size, one.scaled.levels)}): {_at(one, size)}" for size in one.extrapolate_to
    ]
    return f" Read off the law, not measured: at {'; at '.join(parts)}.{_disagreement(one)}" if parts else ""


def _disagreement(one: Series) -> str:
    """What laws that the data do not tell apart say of the size that is farthest off."""
    far = max(one.extrapolate_to)
    fits = [candidate.fit for candidate in near_best(one.scaled.candidates) if candidate.fit is not None]
    values = sorted(float(fit.predict([far])[0]) for fit in fits)
    low, high = one.metric.show(values[0]), one.metric.say_value(values[-1])
    if len(fits) < 2:
        return ""
    return f" The {len(fits)} laws within a standard error of the best say {low} to {high} at {show_level(far)}."


def _at(one: Series, size: float) -> str:
    """``99.1% [98.8 to 99.5]``."""
    assert one.scaled.fit is not None
    text = one.metric.say_value(float(one.scaled.fit.predict([size])[0]))
    if one.scaled.bootstrap is None:
        return text
    (low,), (high,) = one.scaled.bootstrap.band([size])
    return f"{text} [{one.metric.show(float(low))} to {one.metric.show(float(high))}]"


def say_worth(series: Sequence[Series]) -> str:
    """How weak the evidence of the measured series is; empty if none has a law."""
    fitted = [one for one in series if one.kind != "published" and one.scaled.chosen is not None]
    if not fitted:
        return ""
    fewest = min(len(one.scaled.levels) for one in fitted)
    sentences = [
        "Laws compete by leaving out one size at a time, and need two sizes more than they have parameters; ± is the "
        "standard error over sizes. Of all laws whose errors exceed the best one's by no more than one standard error "
        "of the difference, size by size, the simplest wins."
    ]
    if fewest == MIN_LEVELS:
        sentences.append("Of three sizes only one is spared, and a law of two parameters goes through any other two.")
    if fewest < FEW_LEVELS:
        sentences.append(
            f"With {fewest} sizes that is a weak test: in simulations of a constant over 5 sizes and 3 seeds another "
            "law won in one case of thirteen."
        )
    sentences += list(dict.fromkeys(_resampling(one.scaled.bootstrap) for one in fitted if one.scaled.bootstrap))
    if any(one.scaled.bootstrap is None for one in fitted):
        sentences.append("A single seed has no interval.")
    if any(one.extrapolate_to for one in fitted):
        sentences.append("Intervals take the law for granted, and beyond the data it may be another one.")
    return " ".join(sentences)


def _resampling(boot: Bootstrap) -> str:
    failed = boot.num_resamples - len(boot.fits)
    text = (
        f"In brackets: 95% percentile intervals from {boot.num_resamples:,} resamples of {boot.num_seeds} seeds"
        + (f", of which {failed:,} could not be fitted" if failed else "")
        + (f", of which only {boot.num_distinct} differ" if boot.num_seeds < FEW_SEEDS else "")
    )
    if boot.num_seeds >= FEW_SEEDS:
        return f"{text}."
    return f"{text}; too narrow with so few seeds (in simulations 3 seeds held the truth in 73% of cases, 5 in 83%)."
