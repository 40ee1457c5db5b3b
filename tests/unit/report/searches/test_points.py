import math
from collections.abc import Callable
from typing import Any

import pytest

from bdray.exceptions import ConfigError, DataError
from bdray.report.results import Results, load
from bdray.report.searches.points import Searched
from tests.unit.report.searches.conftest import ASR, AXES, CA, METRICS, SCHEDULE, Searches, search_row, victim_row

Load = Callable[..., Results]
CLOUD = {0: (0.5, 0.9), 1: (0.2, 0.8), 2: (0.6, 0.85), 3: (0.1, 0.7), 4: (0.2, 0.75)}


def trials(cloud: dict[int, tuple[float, float]], **more: Any) -> list[dict[str, Any]]:
    return [search_row(number, *values, **more) for number, values in cloud.items()]


def looked(results: Results) -> Searched:
    found = results.searched
    assert found is not None
    return found


def numbers(tried: Any) -> list[int]:
    return [one.number for one in tried]


def constraints(*bounds: dict[str, Any]) -> dict[str, Any]:
    return {"search": {"type": "optuna, tpe", "num_points": 24, "constraints": list(bounds)}}


def test_the_front_and_the_order(results: Load) -> None:
    found = looked(results(victim_row(), *trials(CLOUD)))
    # 2 loses to 0 and 4 to 1; the front is sorted by the first objective
    assert numbers(found.front) == [3, 1, 0]
    assert numbers(found.ordered) == [3, 1, 0, 4, 2]
    assert [found.standing(tried) for tried in found.ordered] == ["front", "front", "front", "", ""]


def test_a_grid_is_no_search(results: Load) -> None:
    # what grids show does not change
    assert results(victim_row(), *trials(CLOUD), search=None).searched is None


def test_a_loss_is_measured_by_the_own_victim(results: Load) -> None:
    own = [victim_row(ca=ca) | {SCHEDULE: name, "key": name} for name, ca in (("cosine", 0.95), ("constant", 0.8))]
    bound = {"metric": CA, "max_loss": 0.05}
    found = looked(results(*own, *trials({0: (0.5, 0.76), 1: (0.4, 0.76)}), **constraints(bound)))
    # a victim without a value for a knob is that of all its values: 0 is constant, 1 is cosine
    assert [(tried.number, tried.is_feasible) for tried in found.complete] == [(0, True), (1, False)]
    assert found.complete[1].excess == pytest.approx((0.14,))
    assert found.bounds[0].say() == "CA at most 5.0 points below the victim's"
    assert [found.standing(tried) for tried in found.ordered] == ["front", "infeasible"]


def test_a_loss_of_what_should_be_low_is_a_rise(results: Load) -> None:
    found = looked(
        results(
            victim_row(asr=0.5),
            *trials({0: (0.55, 0.9), 1: (0.61, 0.9)}),
            **constraints({"metric": ASR, "max_loss": 0.1}),
        )
    )
    assert [tried.is_feasible for tried in found.complete] == [True, False]


def test_a_loss_exactly_at_the_bound_keeps_it(results: Load) -> None:
    bound = {"metric": CA, "max_loss": 0.1}
    found = looked(results(victim_row(ca=0.9), *trials({0: (0.5, 0.8)}), **constraints(bound)))
    # 0.9 − 0.1 is more than 0.8 to a computer
    assert found.complete[0].is_feasible


def test_without_a_victim_a_loss_cannot_be_judged(results: Load) -> None:
    found = looked(results(*trials(CLOUD), **constraints({"metric": CA, "max_loss": 0.1})))
    # so nothing is claimed to keep it
    assert not found.feasible
    assert not found.complete[0].is_judged
    assert found.standing(found.complete[0]) == "not judged"


def test_a_victim_that_is_itself_a_trial(results: Load) -> None:
    none = search_row(9, 0.98, 0.9, defense_type="none")
    found = looked(results(none, *trials(CLOUD), **constraints({"metric": CA, "max_loss": 0.1})))
    # it has no row of its own; 0.8 is as low as it may be
    assert sorted(numbers(found.feasible)) == [0, 1, 2, 9]


def test_the_own_victim_has_the_key_that_a_trial_names(results: Load) -> None:
    victims = [victim_row(ca=ca) | {"key": key, "lr": ca} for key, ca in (("a", 0.95), ("b", 0.8))]
    rows = [row | {"victim_key": "ab"[row["number"]]} for row in trials({0: (0.5, 0.76), 1: (0.4, 0.76)})]
    axes = [*AXES, {"field": "lr", "label": "victim's lr", "low": 0.0, "high": 1.0}]
    rows = [row | {"lr": 0.5} for row in rows]
    found = looked(results(*victims, *rows, axes=axes, **constraints({"metric": CA, "max_loss": 0.05})))
    # whatever their knobs say
    assert [(tried.number, tried.is_feasible) for tried in found.complete] == [(0, False), (1, True)]
    missing = looked(results(*rows, axes=axes, **constraints({"metric": CA, "max_loss": 0.05})))
    assert not missing.complete[0].is_judged


def test_constraints_on_any_column(results: Load) -> None:
    rows = [row | {"detection_recall": 0.1 * row["number"]} for row in trials(CLOUD)]
    both = {"metric": "detection_recall", "at_least": 0.2, "at_most": 0.35}
    found = looked(results(*rows, **constraints(both)))
    assert numbers(found.feasible) == [2, 3]
    assert [bound.kind for bound in found.bounds] == ["at_least", "at_most"]


def test_seeds_are_averaged_and_points_without_all_of_them_wait(results: Load) -> None:
    rows = [search_row(0, asr, 0.9, seed=seed) for seed, asr in enumerate((0.2, 0.4))]
    found = looked(results(*rows, search_row(1, 0.1, 0.95), seeds=[0, 1]))
    assert numbers(found.complete) == [0]
    assert found.complete[0].values[0].mean == pytest.approx(0.3)
    assert found.complete[0].values[0].n == 2
    # one seed of 1 looks better than the mean of 0, and is on no front
    assert numbers(found.front) == [0]
    assert [found.standing(tried) for tried in found.partial] == ["unfinished"]


def test_a_missing_value_is_no_result(results: Load) -> None:
    found = looked(results(search_row(0, "", 0.9), search_row(1, 0.3, 0.9)))
    assert (numbers(found.complete), numbers(found.partial)) == ([1], [0])


def test_points_stopped_early_are_only_counted(results: Load) -> None:
    seeds = [search_row(0, 0.1, 0.9, seed=0), search_row(0, "", "", seed=1, status="pruned")]
    found = looked(results(*seeds, search_row(1, "", "", status="pruned"), seeds=[0, 1]))
    # also where one of the seeds had finished before
    assert sorted(found.pruned.values()) == [0, 1]
    assert not found.complete
    assert not found.partial


def test_hypervolume_over_trials(results: Load) -> None:
    found = looked(results(victim_row(asr=1.0, ca=0.5), *trials({0: (0.5, 0.75), 1: (0.6, 0.6), 2: (0.0, 1.0)})))
    # from ASR 1 and CA 0.5, the victim's: a quarter of the whole, nothing new, all of it
    assert found.reference == (1.0, -0.5)
    assert found.hypervolumes() == [(0, 0.25), (1, 0.25), (2, 1.0)]


def test_hypervolume_counts_what_keeps_the_constraints(results: Load) -> None:
    cloud = {0: (0.0, 0.6), 1: (0.5, 0.9), 2: (0.75, 0.95)}
    found = looked(
        results(victim_row(asr=1.0, ca=0.95), *trials(cloud), **constraints({"metric": CA, "at_least": 0.9}))
    )
    # point 0 breaks it: neither part of the volume, nor of its reference, CA 0.9
    assert found.reference == (1.0, -0.9)
    shares = dict(found.hypervolumes())
    assert shares[0] == 0
    assert shares[2] == pytest.approx(0.25 / 0.5)


def test_no_hypervolume_where_an_objective_is_the_same_for_all(results: Load) -> None:
    found = looked(results(victim_row(asr=0.3), *trials({0: (0.3, 0.9), 1: (0.3, 0.8)})))
    assert found.hypervolumes() == []


def test_a_single_objective_has_a_best(results: Load) -> None:
    found = looked(results(*trials(CLOUD), metrics=METRICS[:1]))
    assert numbers(found.front) == [3]
    assert found.standing(found.front[0]) == "best"


def test_a_file_without_numbers_counts_its_lines(results: Load) -> None:
    rows = [{name: value for name, value in row.items() if name != "number"} for row in trials(CLOUD)]
    assert numbers(looked(results(*rows)).complete) == [0, 1, 2, 3, 4]


def test_a_knob_that_does_not_apply_is_none(results: Load) -> None:
    found = looked(results(*trials(CLOUD)))
    # warm-up is empty for even numbers; what comes from a range is a number
    assert [tried.point[3] for tried in found.complete] == [None, 1.0, None, 3.0, None]
    assert all(isinstance(tried.point[0], float) for tried in found.complete)


def test_planned_values_are_not_points_of_a_search(searches: Searches) -> None:
    axes = [{"field": SCHEDULE, "label": "schedule", "values": ["cosine", "constant", "linear"]}]
    found = load(searches([search_row(0, 0.5, 0.9), search_row(1, 0.4, 0.9)], axes=axes))
    # a search need not try all of them
    assert found.points() == [("cosine",), ("constant",)]


def test_unknown_states_are_refused(searches: Searches) -> None:
    with pytest.raises(DataError, match="status 'stopped' is none of done, failed, pruned"):
        load(searches([search_row(0, 0.5, 0.9, status="stopped")]))


def test_a_loss_needs_a_metric_with_a_goal(searches: Searches) -> None:
    with pytest.raises(ConfigError, match=r"search.constraints.0.max_loss: detection_recall is none of the study's"):
        load(searches([], **constraints({"metric": "detection_recall", "max_loss": 0.1})))
    with pytest.raises(ConfigError, match="give at least one of at_least, at_most and max_loss"):
        load(searches([], **constraints({"metric": CA})))


def test_nan_is_never_feasible(results: Load) -> None:
    found = looked(results(*trials(CLOUD), **constraints({"metric": "embedding_distance", "at_most": 1.0})))
    # a column that is not there
    assert all(math.isnan(tried.excess[0]) for tried in found.complete)
    assert not found.front
