from collections.abc import Callable
from pathlib import Path

import pytest

from bdray.exceptions import ConfigError
from bdray.report.goals import describe_goals, list_words
from bdray.report.results import load

Overview = Callable[..., Path]


def test_who_reaches_the_goals_and_who_misses_them(overview: Overview) -> None:
    folder = overview(goals={"attack_success_rate_top1": 0.8, "clean_accuracy_top1": 0.85})
    # means of 99, 55 and exactly 80%: what is reached exactly is reached
    assert describe_goals(load(folder)) == [
        "The goals for the means over seeds are ASR@1 of at least 80.0% and CA@1 of at least 85.0%.",
        "BadNet and WaNet reach them.",
        "SIG misses ASR@1 by 25.0 points.",
    ]


def test_one_goal_that_less_is_better_for(overview: Overview) -> None:
    folder = overview(goals={"trigger_linf": 0.4})
    # a bound from above, in the metric's own unit
    assert describe_goals(load(folder)) == [
        "The goal for the mean over seeds is L∞ of at most 0.400.",
        "Nothing reaches it.",
        "BadNet misses L∞ by 0.100; SIG misses L∞ by 0.100; WaNet misses L∞ by 0.100.",
    ]


def test_a_miss_is_never_printed_as_zero(overview: Overview) -> None:
    folder = overview({"SIG": [0.7999]}, goals={"attack_success_rate_top1": 0.8, "trigger_psnr": 22})
    # a hundredth of a point is a miss all the same; decibels are decibels
    assert "SIG misses ASR@1 by less than 0.1 points and PSNR by 0.8 dB." in describe_goals(load(folder))


def test_points_without_a_result_are_not_judged(overview: Overview) -> None:
    goals = {"attack_success_rate_top1": 0.5}
    # only what was measured can miss a goal
    assert describe_goals(load(overview({"BadNet": [0.9]}, goals=goals)))[1:] == ["BadNet reaches it."]


def test_nothing_to_say_without_goals_or_results(overview: Overview) -> None:
    folder = overview({"BadNet": []}, goals={"attack_success_rate_top1": 0.5})
    # no goal without a result, and none that nobody set
    assert describe_goals(load(folder)) == []


@pytest.mark.parametrize(
    ("goals", "message"),
    [
        ({"attack_success_rate_top2": 0.5}, "goals.attack_success_rate_top2: is none of the study's metrics. Did you"),
        ({"clean_accuracy_top1": 90}, "goals.clean_accuracy_top1: 90 is not a fraction from 0 to 1"),
        ({"trigger_psnr": float("inf")}, "goals.trigger_psnr: inf is not allowed"),
    ],
)
def test_goals_that_cannot_be_judged(overview: Overview, goals: dict[str, float], message: str) -> None:
    # field, value and rule
    with pytest.raises(ConfigError, match=message):
        load(overview(goals=goals))


def test_lists_of_words() -> None:
    # as people write them; names that hold a comma stay apart
    assert [list_words(words) for words in (["A"], ["A", "B"], ["A", "B", "C"], ["A", "B, small", "C"])] == [
        "A",
        "A and B",
        "A, B and C",
        "A; B, small; C",
    ]
