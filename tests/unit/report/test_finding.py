from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray.report.finding import describe
from bdray.report.results import load

Write = Callable[..., Path]
Row = Callable[..., dict[str, Any]]


@pytest.fixture
def curve(write: Write, model_row: Row) -> Callable[..., str]:
    """The finding for one list of attack success rates (λ₂ = 0, 1, 2) per seed."""

    def describe_curve(*seeds: list[float]) -> str:
        models = [model_row("trial", seed, x, rates[x], 0.9) for seed, rates in enumerate(seeds) for x in range(3)]
        axes = [{"field": "defense.in_modal_weight", "label": "λ₂", "values": [0, 1, 2]}]
        study = {"axes": axes, "seeds": list(range(len(seeds))), "planned_trials": len(models), "published": []}
        return " ".join(describe(load(write(study, models, []))))

    return describe_curve


def test_fall(curve: Callable[..., str]) -> None:
    text = curve([0.5, 0.3, 0.1], [0.6, 0.4, 0.3])
    # both seeds fall by 20 points from λ₂ = 0 to 1, at every step
    assert "a difference of −20.0 points (paired over the 2 seeds, 95% interval −20.0 to −20.0, which excludes" in text
    assert "Over the 3 values of λ₂ its mean falls at every step (Spearman's ρ = −1.00; −1.00 in every seed)" in text


def test_rise_is_reported_as_measured(curve: Callable[..., str]) -> None:
    text = curve([0.1, 0.2, 0.3], [0.1, 0.3, 0.2])
    # a defense that does not help is said not to
    assert "a difference of +15.0 points" in text
    assert "which includes zero, so these seeds do not settle it" in text
    assert "(Spearman's ρ = 0.87; 0.50 to 1.00 across seeds)" in text


def test_a_step_too_small_to_be_shown_is_level(curve: Callable[..., str]) -> None:
    # 0.02 points up would read as "rises by 0.0 points"
    assert "falls, with a level step from λ₂ = 1 to λ₂ = 2" in curve([0.5, 0.2998, 0.3])
    assert "rises, with a level step from λ₂ = 0 to λ₂ = 1" in curve([0.3, 0.2998, 0.4])
    assert "it stays level" in curve([0.3, 0.2998, 0.3001])


def test_exception_to_the_trend_is_named(curve: Callable[..., str]) -> None:
    # the step against the direction, with its size
    assert "falls overall but not at every step; it rises by 5.0 points from λ₂ = 1 to λ₂ = 2" in curve(
        [0.5, 0.1, 0.15]
    )


def test_a_curve_that_ends_where_it_began_has_no_direction(curve: Callable[..., str]) -> None:
    assert "it ends where it began; in between it is up to 18.3 points above that, at λ₂ = 1" in curve([0, 0.183, 0])
    assert "up to 18.3 points below that, at λ₂ = 1" in curve([0.2, 0.017, 0.2])


def test_single_seed(curve: Callable[..., str]) -> None:
    text = curve([0.5, 0.3, 0.1])
    # no interval, and a warning
    assert "on a single seed, so without an interval" in text
    assert "All of this rests on a single seed" in text


def test_nothing_finished(write: Write) -> None:
    # no conclusion from no data
    assert describe(load(write(models=[], history=[]))) == [
        "No trial has finished yet, so there is nothing to conclude."
    ]


def test_nothing_but_failures(write: Write) -> None:
    failures = [{"trial": "λ₂=0 seed=0", "reason": "loss is NaN in epoch 2."}]
    (text,) = describe(load(write({"failures": failures}, models=[], history=[])))
    # not that none has finished yet, but what failed, why, and where to look
    assert text.startswith(
        "No trial has finished, so there is nothing to conclude: λ₂=0 seed=0 failed (loss is NaN in epoch 2). "
    )
    assert "`errors.log`" in text
    several = [*failures, {"trial": "λ₂=1 seed=0", "reason": "loss is NaN in epoch 1."}]
    assert "; so did 1 more stage, which" in describe(load(write({"failures": several}, models=[], history=[])))[0]


def test_names_are_ranked(overview: Callable[..., Path]) -> None:
    text = " ".join(describe(load(overview())))
    # the best and the worst, not the first and the last, and nothing about a defense that there is not
    assert "ASR@1 is highest for BadNet (99.0 ± 12.7%) and lowest for SIG (55.0 ± 63.5%)." in text
    assert "CA@1 is 90.0% for all of them." in text
    assert "defen" not in text
    assert "difference" not in text


def test_names_that_agree_share_their_place(overview: Callable[..., Path]) -> None:
    text = " ".join(describe(load(overview({"BadNet": [1.0, 1.0], "SIG": [0.1, 0.3], "WaNet": [1.0, 0.9999]}))))
    # as printed, so without an interval that only one of them has
    assert "ASR@1 is highest for BadNet and WaNet (100.0%) and lowest for SIG (20.0 ± 127.1%)." in text


def test_one_name_is_not_ranked(overview: Callable[..., Path]) -> None:
    text = " ".join(describe(load(overview({"WaNet": [0.5, 0.5]}))))
    # half-finished, and no best without a second
    assert text == "This is a half-finished study: 2 of 6 trials are done."


def test_names_that_the_study_compares_are_not_ranked(overview: Callable[..., Path]) -> None:
    text = " ".join(describe(load(overview(compare=["SIG", "WaNet"]))))
    # its author asked for these two
    assert "ASR@1 is 55.0 ± 63.5% at SIG and 80.0 ± 127.1% at WaNet: a difference of +25.0 points" in text
    assert "highest" not in text


def test_goals_are_part_of_the_finding(overview: Callable[..., Path]) -> None:
    paragraphs = describe(load(overview(goals={"attack_success_rate_top1": 0.9})))
    # in a paragraph of their own
    assert paragraphs[-1].startswith("The goal for the mean over seeds is ASR@1 of at least 90.0%. BadNet reaches it.")
