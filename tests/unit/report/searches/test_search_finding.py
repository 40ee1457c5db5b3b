from collections.abc import Callable
from typing import Any

import pytest

from bdray.report.finding import describe
from bdray.report.results import Results
from bdray.report.searches.listing import left_out, missing
from tests.unit.report.searches.conftest import ASR, CA, METRICS, search_row, victim_row

Load = Callable[..., Results]
CLOUD = {0: (0.5, 0.9), 1: (0.2, 0.8), 2: (0.6, 0.85), 3: (0.1, 0.7)}


@pytest.fixture
def said(results: Load) -> Callable[..., list[str]]:
    """The finding of a search of few points."""
    trials = [search_row(number, *values) for number, values in CLOUD.items()]
    return lambda *rows, **study: describe(results(victim_row(), *trials, *rows, **study))


def search(*constraints: dict[str, Any], num_points: int | None = 4, **more: Any) -> dict[str, Any]:
    return {"search": {"type": "optuna, tpe", "num_points": num_points, "constraints": list(constraints)} | more}


def test_a_finished_search(said: Callable[..., list[str]]) -> None:
    first, front, knobs, caution = said(**search())
    assert first == (
        "The search of 4 points (optuna, tpe): 4 points finished. "
        "Without a defense the victim stands at ASR 98.0% and CA 90.0%."
    )
    assert front.startswith("3 of the points are on the Pareto front: nothing that was tried beats them in ASR and CA.")
    assert "trial 3 (λ₂ = 0.195, lr = 0.0011, schedule = cosine, warm-up = 3) with ASR 10.0%, CA 70.0%;" in front
    # a knob that does not apply is not named
    assert front.endswith("trial 0 (λ₂ = 0.1, lr = 0.001, schedule = constant) with ASR 50.0%, CA 90.0%.")
    assert knobs == "Importances of knobs need at least 8 finished points, and there are 4 finished points."
    assert "4 points with a single seed: no number here has an interval over seeds" in caution
    assert caution.endswith("The points were chosen on the validation split: confirm them on test with a grid.")


def test_a_half_finished_search(said: Callable[..., list[str]]) -> None:
    pruned = search_row(4, "", "", status="pruned")
    text = said(pruned, **search(num_points=24, stopping="successive halving"))[0]
    assert text.startswith(
        "This is a half-finished search of 24 points (optuna, tpe; stops early by successive halving): 4 points "
        "finished and 1 stopped early."
    )


def test_a_search_by_time_is_never_half_finished(said: Callable[..., list[str]]) -> None:
    assert said(**search(num_points=None))[0].startswith("The search (optuna, tpe): 4 points finished.")


def test_constraints_name_the_best(said: Callable[..., list[str]]) -> None:
    text = said(**search({"metric": CA, "max_loss": 0.1}))[1]
    # 3 breaks it, although its ASR is the lowest
    assert text == (
        "The search asks for CA at most 10.0 points below the victim's. "
        "3 of 4 points keep it; of these trial 1 has the best ASR, 20.0%."
    )


def test_constraints_that_nothing_keeps(said: Callable[..., list[str]]) -> None:
    text = said(**search({"metric": CA, "at_least": 0.95}, {"metric": ASR, "at_most": 0.3}))[1]
    assert "The search asks for CA of at least 95.0% and ASR of at most 30.0%. No point keeps that;" in text
    # 1 lacks 15 points of CA alone, 0 lacks 5 and 20
    assert "nearest comes trial 1 " in text
    assert text.endswith("which misses CA by 15.0 points.")


def test_a_long_front_is_told_by_its_ends(results: Load) -> None:
    rows = [search_row(number, 0.1 + 0.1 * number, 0.5 + 0.05 * number) for number in range(7)]
    text = " ".join(describe(results(*rows, **search(num_points=7))))
    assert "7 of the points are on the Pareto front" in text
    assert "ASR is lowest for trial 0 (" in text
    assert "CA is highest for trial 6 (" in text
    assert "trial 3 (" not in text


def test_a_single_objective(said: Callable[..., list[str]]) -> None:
    text = said(**search({"metric": CA, "at_least": 0.75}), metrics=METRICS[:1])
    assert text[1] == "The search asks for clean accuracy top1 of at least 75.0%. 3 of 4 points keep it."
    assert text[2].startswith("Of the points that keep the constraints, ASR is lowest for trial 1 (λ₂")


def test_goals_are_counted(said: Callable[..., list[str]]) -> None:
    text = " ".join(said(**search(), goals={ASR: 0.3, CA: 0.8}))
    assert "The study's goal is ASR of at most 30.0% and CA of at least 80.0%: 1 of 4 of the points reaches it." in text


def test_a_search_on_the_test_split_is_told_to_start_anew(said: Callable[..., list[str]]) -> None:
    assert said(**search(), split="test")[-1].endswith(
        "chosen by the test split itself: confirm them with a grid of new seeds."
    )


def test_nothing_finished(results: Load) -> None:
    pruned = search_row(0, "", "", status="pruned")
    assert describe(results(victim_row(), pruned)) == ["No trial has finished yet, so there is nothing to conclude."]


def test_what_is_left_out_and_missing(results: Load) -> None:
    rows = [search_row(0, 0.5, 0.9, seed=seed) for seed in (0, 1)] + [search_row(1, 0.5, 0.9)]
    found = results(*rows, search_row(2, "", "", status="pruned"), seeds=[0, 1]).searched
    assert found is not None
    assert left_out(found) == [
        "1 point stopped early is not shown.",
        "1 point lacks a seed or a value, so nothing is concluded from it.",
    ]
    assert missing(found, [0, 1], 24) == ["trial 1, seed 1", "21 of 24 points"]
    assert missing(found, [0, 1], None) == ["trial 1, seed 1"]
