from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray.report import html
from bdray.report.clean_base import clean_rates, describe_clean_base
from bdray.report.finding import describe
from bdray.report.intervals import wilson
from bdray.report.results import load
from bdray.report.tables import summarize

Write = Callable[..., Path]
Row = Callable[..., dict[str, Any]]
CLEAN = "base_attack_success_rate_top1"


@pytest.fixture
def attacks(write: Write, model_row: Row) -> Callable[..., Path]:
    """Three attacks with two seeds, and what their triggers do to the clean model."""

    def make(rates: dict[str, float]) -> Path:
        rows = []
        for attack, rate in rates.items():
            for seed in (0, 1):
                row = model_row("trial", seed, None, 0.9, 0.9, **{CLEAN: rate}, num_non_target_images=1000)
                rows.append(row | {"attack": attack, "key": f"{attack}{seed}", "defense_type": "none"})
        axes = [{"field": "attack", "label": "attack", "values": list(rates)}]
        return write({"axes": axes, "compare": [], "published": [], "planned_trials": len(rows)}, rows, [])

    return make


def test_one_rate_for_each_trigger(attacks: Callable[..., Path]) -> None:
    results = load(attacks({"BadNet": 0.002, "BadCLIP": 0.31}))
    found = clean_rates(results)
    # once, not once a seed: there is one clean model
    assert [(rate.name, rate.rate, rate.sampled) for rate in found] == [
        ("BadNet", 0.002, wilson(0.002, 1000)),
        ("BadCLIP", 0.31, wilson(0.31, 1000)),
    ]
    assert found[1].text == "BadCLIP 31.0% [28.2, 33.9]"
    # the largest is what matters: that much of its ASR needs no poison
    expected = "On the clean model, before any poisoning, the triggers have an ASR@1 of at most 31.0% (BadCLIP)."
    assert describe_clean_base(results) == expected
    assert expected in describe(results)[0]


def test_the_page_shows_it(attacks: Callable[..., Path]) -> None:
    results = load(attacks({"BadNet": 0.002, "BadCLIP": 0.31}))
    page = html.render(results, summarize(results), [], [])
    assert "BadNet 0.2% [0.1, 0.7]; BadCLIP 31.0% [28.2, 33.9]" in page
    assert "ASR@1 on the clean model (%)" in page


def test_a_single_trigger_needs_no_name(write: Write, model_row: Row) -> None:
    rows = [model_row("trial", 0, level, 0.5, 0.9, **{CLEAN: 0.004}) for level in (0, 1)]
    # without a count no interval
    assert [rate.text for rate in clean_rates(load(write({}, rows, [])))] == ["0.4%"]
    assert "the trigger has an ASR@1 of 0.4%" in describe_clean_base(load(write({}, rows, [])))


def test_older_results_do_not_show_it(write: Write) -> None:
    results = load(write())
    assert clean_rates(results) == []
    assert describe_clean_base(results) == ""
    assert "Clean model" not in html.render(results, summarize(results), [], [])
