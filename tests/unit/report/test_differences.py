import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray.exceptions import ConfigError
from bdray.report import build
from bdray.report.differences import Differences, differences, to_frame
from bdray.report.finding import describe
from bdray.report.results import load
from bdray.report.significance import holm, paired_test

Write = Callable[..., Path]
Row = Callable[..., dict[str, Any]]
CROSSED: dict[str, Any] = {
    "axes": [
        {"field": "attack", "label": "attack", "values": ["BadNet", "SIG"]},
        {"field": "defense", "label": "defense", "values": ["none", "FT", "CleanCLIP"]},
    ],
    "compare": [],
    "published": [],
    "planned_trials": 18,
}
ASR = {
    ("BadNet", "none"): [0.98, 0.95, 0.99],
    ("BadNet", "FT"): [0.50, 0.61, 0.40],
    ("BadNet", "CleanCLIP"): [0.10, 0.16, 0.05],
    ("SIG", "none"): [0.90, 0.94, 0.95],
    ("SIG", "FT"): [0.91, 0.93, 0.96],
    ("SIG", "CleanCLIP"): [0.30, 0.20, 0.22],
}


@pytest.fixture
def crossed(write: Write, model_row: Row) -> Callable[..., Path]:
    """Attacks by defenses and seeds."""

    def make(seeds: int = 3, **study: Any) -> Path:
        rows = []
        for (attack, defense), rates in ASR.items():
            for seed, rate in enumerate(rates[:seeds]):
                row = model_row("trial", seed, None, rate, 0.9) | {"attack": attack, "defense": defense}
                kind = "none" if defense == "none" else defense.lower()
                rows.append(row | {"key": f"{attack}-{defense}-{seed}", "defense_type": kind})
        return write(CROSSED | study, rows, [])

    return make


def asr(folder: Path) -> Differences:
    return next(table for table in differences(load(folder)) if table.metric.name == "attack_success_rate_top1")


def test_defenses_are_measured_by_the_undefended_model_of_their_seed_and_attack(crossed: Callable[..., Path]) -> None:
    table = asr(crossed())
    assert table.reference == "defense none"
    assert [row.name for row in table.rows] == ["BadNet, FT", "BadNet, CleanCLIP", "SIG, FT", "SIG, CleanCLIP"]
    expected = [
        paired_test(dict(enumerate(ASR[attack, "none"])), dict(enumerate(ASR[attack, defense])))
        for attack in ("BadNet", "SIG")
        for defense in ("FT", "CleanCLIP")
    ]
    assert [row.contrast for row in table.rows] == expected
    # four comparisons, and their p-values know it
    assert [row.p_holm for row in table.rows] == holm([contrast.p for contrast in expected])
    assert table.num_tests == 4


def test_another_reference_can_be_asked_for(crossed: Callable[..., Path]) -> None:
    table = asr(crossed(reference="CleanCLIP"))
    assert table.reference == "defense CleanCLIP"
    assert [row.name for row in table.rows] == ["BadNet, none", "BadNet, FT", "SIG, none", "SIG, FT"]
    assert table.rows[1].contrast.difference.mean == pytest.approx((0.50 + 0.61 + 0.40 - 0.10 - 0.16 - 0.05) / 3)


def test_a_reference_that_is_nowhere_is_refused(crossed: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"study\.json: reference: 'CleanClip' is no value of .* 'CleanCLIP'"):
        load(crossed(reference="CleanClip"))


def test_the_victims_are_the_reference_where_all_is_defended(write: Write) -> None:
    table = asr(write({"compare": []}))
    # six values of λ₂, each against the victim of its seed
    assert table.reference == "each point's own victim"
    assert len(table.rows) == 6
    assert all(row.contrast.difference.n == 3 for row in table.rows)


def test_what_the_study_compares_is_the_reference(write: Write) -> None:
    table = asr(write())
    # compare: [0, 1]
    assert table.reference == "λ₂ = 0 (FT)"
    assert [row.name for row in table.rows] == [f"λ₂ = {value}" for value in ("0.5", "1", "2", "4", "8")]


def test_a_printed_table_has_no_p_without_its_n(crossed: Callable[..., Path]) -> None:
    table = asr(crossed())
    columns = {name: [line[index] for line in table.lines()] for index, name in enumerate(table.header)}
    assert columns["seeds"] == ["3"] * 4
    assert columns["difference (points)"] == ["−47.0", "−87.0", "+0.3", "−69.0"]
    assert columns["verdict"][2] == "within seed noise"
    assert columns["verdict"][1] == "beyond seed noise"
    assert "4 differences from defense none" in table.to_latex()
    assert "4.3 (3 seeds) standard errors" in table.caption


def test_beyond_noise_alone_but_not_among_many(crossed: Callable[..., Path]) -> None:
    table = asr(crossed(seeds=2))
    found = {row.name: row for row in table.rows}["BadNet, CleanCLIP"]
    # an interval without zero that one expects among so many comparisons
    assert found.contrast.difference.excludes_zero
    assert found.contrast.p < 0.05 < found.p_holm
    assert found.verdict == "beyond seed noise, but not after Holm"


def test_a_single_seed_is_labelled(crossed: Callable[..., Path]) -> None:
    table = asr(crossed(seeds=1))
    assert {row.verdict for row in table.rows} == {"single seed"}
    assert {line[3] for line in table.lines()} == {"1"}
    assert {(line[2], line[4], line[5], line[6]) for line in table.lines()} == {("–", "–", "–", "–")}
    assert "A single seed has neither interval nor p." in table.caption
    # and nothing is claimed in words
    assert table.summary() == ""


def test_the_finding_counts_comparisons(crossed: Callable[..., Path]) -> None:
    text = " ".join(describe(load(crossed())))
    assert "beyond seed noise (a 95% interval without zero) in 3 of 4 comparisons" in text
    assert "adjusted for their number (Holm, 4 tests), in 3 of them p stays below 0.05" in text


def test_an_interval_of_another_kind(crossed: Callable[..., Path], write: Write, model_row: Row) -> None:
    rates = {0: [0.5, 0.6, 0.4, 0.55], 1: [0.1, 0.3, 0.05, 0.1]}
    rows = [model_row("trial", seed, x, rate, 0.9) for x in rates for seed, rate in enumerate(rates[x])]
    axes = [{"field": "defense.in_modal_weight", "label": "λ₂", "values": [0, 1]}]
    folder = write({"axes": axes, "interval": "bootstrap", "published": [], "seeds": [0, 1, 2, 3]}, rows, [])
    row = asr(folder).rows[0]
    # within what was seen: differences from -0.45 to -0.30
    assert -0.45 < row.contrast.difference.low < row.contrast.difference.high < -0.30
    assert "95% bootstrap interval" in asr(folder).caption
    report = build(folder)
    assert "bootstrap" in report.summary.caption
    assert "[" in report.summary.lines()[0][1]
    assert "bootstrap" in report.page.read_text(encoding="utf-8")


def test_a_search_is_not_tested_by_the_results_that_chose_its_points(write: Write) -> None:
    axes = [{"field": "defense.in_modal_weight", "label": "λ₂", "low": 0, "high": 8}]
    study = {"axes": axes, "search": {"type": "optuna"}, "compare": [], "published": []}
    assert differences(load(write(study, None, []))) == []


def test_attacks_are_no_standard_for_each_other(overview: Callable[..., Path]) -> None:
    assert differences(load(overview())) == []


def test_unless_the_study_says_so(overview: Callable[..., Path]) -> None:
    table = asr(overview(reference="SIG"))
    assert [row.name for row in table.rows] == ["BadNet", "WaNet"]


def test_what_is_missing_is_counted(write: Write, models: list[dict[str, Any]]) -> None:
    table = asr(write(models=[row for row in models if row["defense.in_modal_weight"] != 4]))
    assert table.missing == 1
    # no reference at all, no table
    assert differences(load(write(models=[row for row in models if row["defense.in_modal_weight"] != 0]))) == []


def test_numbers_behind_the_table(crossed: Callable[..., Path]) -> None:
    results = load(crossed())
    frame = to_frame(differences(results), results)
    # two metrics, in the data's units
    assert len(frame) == 8
    assert frame["difference"][1] == pytest.approx(-0.87)
    assert list(frame["n"].unique()) == [3]
    assert math.isnan(frame["p"][4])  # CA is the same everywhere
    assert list(frame["num_tests"].unique()) == [4, 0]
