import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from bdray.report.results import Results
from bdray.report.searches.importance import Importances, quantile, refusal
from bdray.report.searches.points import Searched
from tests.unit.report.searches.conftest import AXES, LAMBDA, METRICS, RATE, SCHEDULE, WARMUP, search_row

Load = Callable[..., Results]


def drawn(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Points drawn at random, whose ASR falls with λ₂ and whose CA is noise."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        schedule = rng.choice(["cosine", "constant"])
        strength = 10 ** rng.uniform(-1, 1)
        knobs = {
            LAMBDA: strength,
            RATE: rng.uniform(0.001, 0.003),
            SCHEDULE: schedule,
            WARMUP: rng.randint(0, 5) if schedule == "cosine" else "",
        }
        asr = 0.5 - 0.2 * math.log10(strength) + rng.gauss(0, 0.03)
        rows.append(search_row(number, asr, 0.9 + rng.gauss(0, 0.02), **knobs))
    return rows


def looked(results: Results) -> Searched:
    assert results.searched is not None
    return results.searched


def strong(found: Importances) -> list[str]:
    return [axis.label for axis, _, is_beyond_chance in found.knobs if is_beyond_chance]


def test_the_knob_that_matters_is_found_and_noise_is_not(results: Load) -> None:
    asr, ca = looked(results(*drawn(40))).importances
    # the largest first, and all together the whole
    assert asr.knobs[0][0].label == "λ₂"
    assert sum(share for _, share, _ in asr.knobs) == pytest.approx(1)
    assert strong(asr) == ["λ₂"]
    assert strong(ca) == []
    assert (asr.num_points, asr.num_best) == (40, 20)


def test_a_good_value_may_be_high(results: Load) -> None:
    rows = [row | {"clean_accuracy_top1": 1 - row["attack_success_rate_top1"]} for row in drawn(40)]
    asr, ca = looked(results(*rows)).importances
    # the same order of the points, so the same importances
    assert [share for _, share, _ in asr.knobs] == pytest.approx([share for _, share, _ in ca.knobs])


def test_chance_is_the_same_every_time(results: Load) -> None:
    rows = drawn(20)
    first, second = (looked(results(*rows)).importances for _ in range(2))
    assert first == second


def test_false_alarms_are_rare(results: Load) -> None:
    # of 10 searches in which CA is noise, one may well have a knob that is beyond chance
    alarms = [strong(looked(results(*drawn(24, seed), metrics=METRICS[1:])).importances[0]) for seed in range(10)]
    assert sum(map(bool, alarms)) <= 2


def test_points_beyond_the_range_are_known_ones(results: Load) -> None:
    rows = [*drawn(12), search_row(12, 0.1, 0.9, **{LAMBDA: 25.0, WARMUP: 9})]
    # what a search is started from need not lie in its ranges
    assert len(looked(results(*rows)).importances) == 2


def test_few_points_say_nothing(results: Load) -> None:
    found = looked(results(*drawn(7)))
    assert found.importances == ()
    assert refusal(found) == "Importances of knobs need at least 8 finished points, and there are 7 finished points."


def test_a_single_knob_is_not_weighed(results: Load) -> None:
    others = [axis["field"] for axis in AXES[1:]]
    rows = [{name: value for name, value in row.items() if name not in others} for row in drawn(12)]
    found = looked(results(*rows, axes=AXES[:1]))
    assert found.importances == ()
    assert "single knob" in refusal(found)


def test_points_that_agree_have_no_importance(results: Load) -> None:
    rows = [row | {"attack_success_rate_top1": 0.0} for row in drawn(12)]
    found = looked(results(*rows)).importances[0]
    # none is better than another, so no knob decides
    assert [share for _, share, _ in found.knobs] == [0, 0, 0, 0]
    assert strong(found) == []
    assert found.num_best == 12


def test_the_best_are_at_most_half_and_at_least_a_quarter() -> None:
    assert [quantile(count) for count in (8, 48, 96, 1000)] == [0.5, 0.5, 0.25, 0.25]
