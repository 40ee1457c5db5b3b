"""What a search found, in plain sentences computed from its numbers."""

from bdray.cli import count
from bdray.report.goals import list_words
from bdray.report.results import Results
from bdray.report.searches.importance import CHANCE, SHUFFLES, Importances, refusal
from bdray.report.searches.listing import name, values
from bdray.report.searches.points import Searched
from bdray.report.study import Metric

MAX_NAMED = 5
"""Points of a front that are spelled out; the table has all."""


def describe_search(results: Results, found: Searched) -> list[str]:
    """Short paragraphs: how far, the victim, the front, the constraints, the knobs, and how much that is worth."""
    paragraphs = [
        [_progress(results, found), _victims(found)],
        [_constraints(found)],
        [_front(found)],
        [_goals(results, found)],
        [_knobs(found)],
        [_caution(results, found)],
    ]
    return [" ".join(filter(None, sentences)) for sentences in paragraphs if any(sentences)]


def _progress(results: Results, found: Searched) -> str:
    search, study = results.study.search, results.study
    if search is None:
        return ""
    whole = "finished" if len(study.seeds) == 1 else "with all seeds finished"
    counts = [f"{count(len(found.complete), 'point')} {whole}"]
    counts += [f"{len(found.pruned)} stopped early"] * bool(found.pruned)
    counts += [f"{len(found.partial)} not finished"] * bool(found.partial)
    counts += [f"{count(len(study.failures), 'trial')} failed"] * bool(study.failures)
    settled = len(found.complete) + len(found.pruned)
    is_half = search.num_points is not None and settled < search.num_points
    start = "This is a half-finished search" if is_half else "The search"
    of = f" of {count(search.num_points, 'point')}" if search.num_points else ""
    stopping = f"; stops early by {search.stopping}" if search.stopping else ""
    return f"{start}{of} ({search.type}{stopping}): {list_words(counts)}."


def _victims(found: Searched) -> str:
    if len(found.victims) != 1:
        return ""
    pairs = zip(found.objectives, found.victims[0], strict=True)
    values = [f"{metric.label} {metric.say(value)}" for metric, value in pairs if value.n]
    return f"Without a defense the victim stands at {list_words(values)}." if values else ""


def _front(found: Searched) -> str:
    """The points themselves if they are few, else the ends."""
    front = found.front
    if not front:
        return ""
    among = " that keep the constraints" if found.bounds else ""
    if len(found.objectives) == 1:
        metric = found.objectives[0]
        word = "lowest" if metric.goal == "min" else "highest"
        return f"Of the points{among}, {metric.label} is {word} for {_listed(found, range(len(front)))}."
    both = "both" if len(found.objectives) == 2 else "all of"
    labels = list_words([metric.label for metric in found.objectives])
    if len(front) == 1:
        return f"One of the points{among} is the best in {both} {labels}: {_listed(found, [0])}."
    start = f"{len(front)} of the points{among} are on the Pareto front: nothing that was tried beats them in {labels}"
    if len(front) <= MAX_NAMED:
        return f"{start}. They are {_listed(found, range(len(front)))}."
    ends = [_end(found, metric, index) for index, metric in enumerate(found.objectives)]
    return f"{start}. {'; '.join(ends)}."


def _listed(found: Searched, indices: "range | list[int]") -> str:
    shown = [found.front[index] for index in list(indices)[:MAX_NAMED]]
    text = "; ".join(f"{name(found, tried)} with {values(found, tried)}" for tried in shown)
    return f"{text}; and {len(indices) - MAX_NAMED} more" if len(indices) > MAX_NAMED else text


def _end(found: Searched, metric: Metric, index: int) -> str:
    best = min(found.front, key=lambda tried: found.losses(tried)[index])
    word = "lowest" if metric.goal == "min" else "highest"
    return f"{metric.label} is {word} for {name(found, best)} with {values(found, best)}"


def _constraints(found: Searched) -> str:
    """How many points keep the constraints, and the best of them; or which comes nearest."""
    if not found.bounds or not found.complete:
        return ""
    bounds = list_words([bound.say() for bound in found.bounds])
    start = f"The search asks for {bounds}."
    if found.best is not None:
        metric, mean = found.objectives[0], found.best.values[0].mean
        it = "it" if len(found.bounds) == 1 else "them"
        best = f"; of these trial {found.best.number} has the best {metric.label}, {metric.say_value(mean)}"
        best = best if len(found.objectives) > 1 else ""
        return f"{start} {len(found.feasible)} of {len(found.complete)} points keep {it}{best}."
    judged = [tried for tried in found.complete if tried.is_judged]
    if not judged:
        return f"{start} Whether a point keeps that cannot be told, for victims or values are missing."
    nearest = min(judged, key=lambda tried: sum(max(excess, 0.0) for excess in tried.excess))
    pairs = zip(found.bounds, nearest.excess, strict=True)
    missed = list_words([bound.say_excess(excess) for bound, excess in pairs if excess > 0])
    return f"{start} No point keeps that; nearest comes {name(found, nearest)}, which misses {missed}."


def _goals(results: Results, found: Searched) -> str:
    goals = results.study.goals
    wanted = [(index, metric) for index, metric in enumerate(found.objectives) if metric.name in goals]
    if not wanted or not found.complete:
        return ""
    reached = [
        tried
        for tried in found.complete
        if all(
            (value >= goals[metric.name]) if metric.goal == "max" else (value <= goals[metric.name])
            for metric, value in ((metric, tried.values[index].mean) for index, metric in wanted)
        )
    ]
    bound = {"max": "at least", "min": "at most"}
    named = list_words([f"{m.label} of {bound[m.goal]} {m.say_value(goals[m.name])}" for _, m in wanted])
    number = f"{len(reached)} of {len(found.complete)}" if reached else "None"
    return f"The study's goal is {named}: {number} of the points reach{'es' * (len(reached) == 1)} it."


def _knobs(found: Searched) -> str:
    if not found.complete:
        return ""
    if refusal(found):
        return refusal(found)
    return " ".join(map(_of_knobs, found.importances))


def _of_knobs(found: Importances) -> str:
    """The knobs beyond chance, which may be none."""
    strong = [f"{axis.label} ({100 * share:.0f}%)" for axis, share, is_beyond in found.knobs if is_beyond]
    what = f"whether a point is among the best {found.num_best} of {found.num_points} in {found.metric.label}"
    if not strong:
        return f"No knob stands out from chance in {what}."
    return f"{what[0].upper()}{what[1:]} goes most with {list_words(strong)}."


def _caution(results: Results, found: Searched) -> str:
    """One seed, and numbers that were chosen by what they say."""
    if not found.complete:
        return ""
    points, seeds = count(len(found.complete), "point"), len(results.study.seeds)
    few = (
        f"{points} with a single seed: no number here has an interval over seeds, chance decides among "
        "those that are close, and the best of many looks better than it is."
        if seeds == 1
        else f"{points} with {seeds} seeds each: the best of many noisy points looks better than it is."
    )
    if results.study.split == "validation":
        return f"{few} The points were chosen on the validation split: confirm them on test with a grid."
    return f"{few} The points were chosen by the test split itself: confirm them with a grid of new seeds."


def chance_note() -> str:
    """What the two colors of importances mean."""
    share = round(100 * (1 - CHANCE))
    return (
        f"Dark: beyond chance, that is more than the largest of any knob in all but {share} of {SHUFFLES} random "
        "orders of the results. Pale: may be nothing."
    )
