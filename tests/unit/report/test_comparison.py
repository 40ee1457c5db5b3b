import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from bdray.exceptions import ConfigError
from bdray.report import Report
from bdray.report.comparison import build
from bdray.report.comparison.comparison import Comparison, compare
from bdray.report.comparison.subtraction import Difference
from bdray.report.significance import holm

Rates = Mapping[tuple[str, str], list[float]]
Row = Callable[..., dict[str, Any]]
ASR = "attack_success_rate_top1"
NONE = {("BadNet", "none"): [0.95, 0.97, 0.99]}
FIRST: Rates = NONE | {("BadNet", "FT"): [0.5, 0.6, 0.7], ("BadNet", "CleanCLIP"): [0.1, 0.2, 0.12]}
SECOND: Rates = NONE | {("BadNet", "UBT"): [0.01, 0.0, 0.02], ("BadNet", "CleanCLIP"): [0.15, 0.3, 0.15]}


@pytest.fixture
def study(tmp_path: Path, model_row: Row, write_to: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a study of attacks and defenses from ASRs by seed; models are the same where attack and defense are."""

    def write(name: str, rates: Rates, *, keys: bool = True, salt: str = "", place: str = "a", **more: Any) -> Path:
        rows = []
        for (attack, defense), values in rates.items():
            for seed, rate in enumerate(values):
                row = model_row("trial", seed, None, rate, 0.9) | {"attack": attack, "defense": defense}
                row["defense_type"] = "none" if defense == "none" else defense.lower()
                row["key"] = f"{attack}-{defense}-{seed}-{rate}{salt}"
                rows.append(row | ({"victim_key": f"{attack}-{seed}{salt}"} if keys else {}))
        axes = [
            {"field": part, "label": part, "values": list(dict.fromkeys(key[index] for key in rates))}
            for index, part in enumerate(("attack", "defense"))
        ]
        tree = {"name": name, "axes": axes, "compare": [], "published": [], "planned_trials": len(rows)} | more
        return write_to(tmp_path / place / "studies" / name, tree, rows, [])

    return write


def found(comparison: Comparison, metric: str = ASR) -> dict[tuple[str, str], Difference]:
    """Differences by the names of both places."""
    return {(item.place.short_name, item.first.short_name): item for item in comparison.differences[metric]}


def test_paired_by_victim_at_the_same_place(study: Callable[..., Path]) -> None:
    comparison = compare([study("a/first", FIRST), study("b/second", SECOND)])
    item = found(comparison)["CleanCLIP", "CleanCLIP"]
    expected = stats.ttest_rel([0.15, 0.3, 0.15], [0.1, 0.2, 0.12])
    # the second minus the first, seed by seed
    assert (item.kind, item.contrast.difference.n) == ("paired", 3)
    assert item.contrast.difference.mean == pytest.approx(0.06)
    assert item.contrast.p == pytest.approx(expected.pvalue)


def test_different_defenses_of_the_same_victims_are_paired(study: Callable[..., Path]) -> None:
    comparison = compare([study("a/first", FIRST), study("b/second", SECOND)])
    differences = found(comparison)
    # UBT, which only the second has, against FT, which only the first has; CleanCLIP has its like on both sides
    assert set(differences) == {("no defense", "no defense"), ("CleanCLIP", "CleanCLIP"), ("UBT", "FT")}
    assert differences["UBT", "FT"].contrast.difference.mean == pytest.approx(-0.59)
    # p-values are adjusted for the two that are tests
    tests = [item.contrast.p for item in comparison.differences[ASR]]
    assert [item.p_holm for item in comparison.differences[ASR]] == pytest.approx(holm(tests), nan_ok=True)
    assert comparison.num_tests(comparison.metrics[0]) == 2


def test_the_very_same_models_are_not_tested(study: Callable[..., Path]) -> None:
    item = found(compare([study("a/first", FIRST), study("b/second", SECOND)]))["no defense", "no defense"]
    assert item.kind == "same models"
    assert math.isnan(item.p_holm)


@pytest.mark.parametrize("more", [{"keys": False}, {"salt": "other"}])
def test_without_a_shared_victim_it_is_unpaired_and_says_so(study: Callable[..., Path], more: dict[str, Any]) -> None:
    comparison = compare([study("a/first", FIRST), study("b/second", SECOND, **more)])
    differences = found(comparison)
    item = differences["CleanCLIP", "CleanCLIP"]
    expected = stats.ttest_ind([0.15, 0.3, 0.15], [0.1, 0.2, 0.12], equal_var=False)
    # results of older versions do not say their victims, other stores have others
    assert item.kind == "unpaired"
    assert item.contrast.p == pytest.approx(expected.pvalue)
    # and different defenses are left alone
    assert ("UBT", "FT") not in differences


def test_only_seeds_with_the_same_victim_pair_up(study: Callable[..., Path]) -> None:
    folder = study("b/second", {("BadNet", "CleanCLIP"): [0.15, 0.3, 0.15]})
    text = (folder / "results.csv").read_text(encoding="utf-8").replace("BadNet-2", "another-2")
    (folder / "results.csv").write_text(text, encoding="utf-8")
    item = found(compare([study("a/first", FIRST), folder]))["CleanCLIP", "CleanCLIP"]
    assert (item.kind, item.contrast.difference.n) == ("paired", 2)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"split": "validation"}, "it is judged on the validation split, the first on the test split"),
        (
            {"settings": {"data": {"type": "scenes", "seed": 0, "num_train": 500, "num_test": 1600}}},
            "it starts from another base (data.num_train is 500, not 12000, data.num_finetune is None, not 2000)",
        ),
    ],
)
def test_other_splits_and_bases_are_not_subtracted(
    study: Callable[..., Path], tmp_path: Path, more: dict[str, Any], reason: str
) -> None:
    folders = [study("a/first", FIRST), study("b/second", SECOND, **more)]
    comparison = compare(folders)
    assert comparison.sides[1].refusal == reason
    assert comparison.differences[ASR] == ()
    compared = build(folders, tmp_path / "to")
    # they still stand side by side, and the page, the terminal and the table say why there is no more
    assert f"b/second is not subtracted from a/first: {reason}." in compared.finding
    page = compared.files[0].read_text(encoding="utf-8")
    assert f"b/second is shown beside the others and not subtracted: {reason}." in page
    frame = pd.read_csv(tmp_path / "to" / "comparison.csv")
    assert set(frame["kind"]) == {"value"}
    assert set(frame[frame["study"] == "b/second"]["how"]) == {f"not subtracted: {reason}"}


def test_other_settings_of_attacks_and_defenses_are_no_other_base(study: Callable[..., Path]) -> None:
    folder = study("a/first", FIRST)
    settings = compare([folder]).sides[0].results.study.settings
    changed = settings | {"defense": {"type": "ubt"}, "attack": {"num_poisoned": 5}}
    assert not compare([folder, study("b/second", SECOND, settings=changed)]).sides[1].refusal


def test_places_are_found_by_names_that_differ_in_case(study: Callable[..., Path]) -> None:
    second = {(attack.lower(), defense.lower()): rates for (attack, defense), rates in FIRST.items()}
    comparison = compare([study("a/first", FIRST), study("b/second", second)])
    # one line each, under the first study's names
    assert [line.place.name for line in comparison.lines[ASR]] == [
        "BadNet, no defense", "BadNet, FT", "BadNet, CleanCLIP"
    ]  # fmt: skip
    assert all(value.n == 3 for line in comparison.lines[ASR] for value in line.values)


def test_several_stores_of_one_study(study: Callable[..., Path]) -> None:
    folders = [study("some/grid", FIRST, place=place) for place in ("old", "new")]
    # are told apart by what differs in their paths
    assert [side.name for side in compare(folders).sides] == ["some/grid (old)", "some/grid (new)"]


def test_studies_of_other_axes_share_victims(study: Callable[..., Path], full_report: Report) -> None:
    comparison = compare([full_report.page.parent, study("b/second", SECOND)])
    places = {line.place.name: [value.n for value in line.values] for line in comparison.lines[ASR]}
    # a curve over λ₂ beside named defenses
    assert places["badnet, no defense"] == [3, 3]
    assert places["badnet, cleanclip, λ₂ = 0.5"] == [3, 0]
    assert places["BadNet, UBT"] == [0, 3]


def test_no_common_metric_is_refused(study: Callable[..., Path]) -> None:
    first = study("a/first", FIRST, metrics=[{"name": "clean_accuracy_top5", "label": "CA@5", "goal": "max"}])
    second = study("b/second", SECOND)
    text = (second / "results.csv").read_text(encoding="utf-8").replace("clean_accuracy_top5", "other")
    (second / "results.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a/first has clean_accuracy_top5; b/second has .*no metric that all"):
        compare([first, second])


def test_files(study: Callable[..., Path], tmp_path: Path) -> None:
    compared = build([study("a/first", FIRST), study("b/<b>second", SECOND)], tmp_path / "to")
    kinds = ("html", "csv", "tex", "png", "svg", "pdf")
    names = [*(f"comparison.{kind}" for kind in kinds), "tidy.csv", "tidy.parquet"]
    assert [path.name for path in compared.files] == names
    assert all(path.stat().st_size > 500 for path in compared.files)
    page = compared.files[0].read_text(encoding="utf-8")
    # nothing from elsewhere, nothing that a study wrote as markup, and links to the studies' own reports
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<b>second" not in page
    assert 'href="../a/studies/a/first/report.html"' in page
    # values and differences, with their numbers of seeds and of tests
    frame = pd.read_csv(tmp_path / "to" / "comparison.csv")
    row = frame[(frame["kind"] == "difference") & (frame["defense"] == "UBT") & (frame["metric"] == ASR)].iloc[0]
    assert (row["n"], row["num_tests"], row["how"]) == (3, 2, "paired")
    assert row["minus_place"] == "BadNet, FT"
    # all numbers of both studies
    assert set(pd.read_parquet(tmp_path / "to" / "tidy.parquet")["study"]) == {"a/first", "b/<b>second"}


def test_too_many_pairs_of_defenses_are_left_out(study: Callable[..., Path], tmp_path: Path) -> None:
    names = [[f"{side}{index}" for index in range(11)] for side in "xy"]
    folders = [study(f"s/{own[0]}", {("BadNet", name): [0.1, 0.2] for name in own}) for own in names]
    comparison = compare(folders)
    assert (comparison.num_left_out, comparison.differences[ASR]) == (121, ())
    # a single seed and no difference at all are fine, too
    build(folders, tmp_path / "to")


def test_single_seeds_are_labelled(study: Callable[..., Path], tmp_path: Path) -> None:
    folders = [
        study(name, {key: values[:1] for key, values in rates.items()})
        for name, rates in (("a/first", FIRST), ("b/second", SECOND))
    ]
    page = build(folders, tmp_path / "to").files[0].read_text(encoding="utf-8")
    assert "50.0 (single seed)" in page
    assert "<td>single seed</td><td>paired</td>" in page
