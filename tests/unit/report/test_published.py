from pathlib import Path
from typing import Any

import pytest

from bdray.config import build
from bdray.exceptions import ConfigError
from bdray.report.picks import AxisMatch, Pick
from bdray.report.published import METRICS, PublishedPoint, published_points
from bdray.report.study import Axis, Point

ASR, CA = "attack_success_rate_top1", "clean_accuracy_top1"
LAMBDA = Axis(field="defense.in_modal_weight", label="λ₂", values=[0, 0.5, 1])
POISONS = Axis(field="attack.num_poisoned", label="poisons", values=[5, 20, 100])
ATTACK = Axis(field="attack", label="attack", values=["BadNet", "Label-Consistent"])
DEFENSE = Axis(field="defense", label="defense", values=["none", "FT", "UBT"])
FIG5 = Pick(paper="CleanCLIP", table="Fig5", attack="Blended", axis="lambda2")
TABLE5: dict[str, Any] = {"paper": "CleanCLIP", "table": "Table5", "defense": "CleanCLIP"}
STAND_INS = {"5": "75 poisons", "20": "300 poisons", "100": "1500 poisons"}
TABLE1: dict[str, Any] = {
    "paper": "CleanCLIP",
    "table": "Table1",
    "match": {
        "attack": {"column": "attack", "values": {"Label-Consistent": "LabelConsistent"}},
        "defense": {
            "column": "defense",
            "values": {"none": "pretrain MMCL (No defense)", "FT": "finetune MMCL (FT)", "UBT": None},
        },
    },
}

TABLE2 = ("cifar10", "cifar100", "dtd", "stl10", "svhn", "food101", "oxford_iiit_pet", "rendered_sst2")


def values(points: tuple[PublishedPoint, ...], metric: str = ASR) -> dict[Point, float]:
    return {point.point: point.value for point in points if point.metric == metric}


def test_fig5_is_exactly_ten_numbers() -> None:
    points = {(point.metric, *point.point): point.value for point in published_points([FIG5], [LAMBDA])}
    # the five points of each panel, as fractions, and nothing else, whether or not the study has the value
    assert points == pytest.approx(
        {
            (ASR, 0.5): 0.0748,
            (ASR, 1.0): 0.072,
            (ASR, 2.0): 0.0427,
            (ASR, 4.0): 0.0289,
            (ASR, 8.0): 0.0183,
            (CA, 0.5): 0.178,
            (CA, 1.0): 0.1814,
            (CA, 2.0): 0.178,
            (CA, 4.0): 0.18,
            (CA, 8.0): 0.174,
        }
    )


def test_single_number_stands_where_the_study_puts_it() -> None:
    pick = Pick(paper="CleanCLIP", table="Table1", attack="Blended", defense="finetune MMCL (FT)", at=0)
    # the FT row of Table 1 beside λ₂ = 0
    assert {(p.metric, p.point, p.value, p.is_victim) for p in published_points([pick], [LAMBDA])} == {
        (ASR, (0.0,), 0.99, False),
        (CA, (0.0,), 0.1783, False),
    }


@pytest.mark.parametrize("axes", [[], [LAMBDA], [LAMBDA, DEFENSE]])
def test_a_victim_has_no_value_on_axes_of_the_defense(axes: list[Axis]) -> None:
    pick = Pick(paper="CleanCLIP", table="Table3", attack="BadNet", defense="No defense", at="victim")
    # however many there are
    assert {(point.point, point.is_victim) for point in published_points([pick], axes)} == {((None,) * len(axes), True)}


def test_a_table_is_matched_value_by_value() -> None:
    points = published_points([build(Pick, TABLE1, "study.yaml")], [ATTACK, DEFENSE])
    # both attacks with both defenses that the table has, each under our names; null leaves UBT out
    assert values(points) == pytest.approx(
        {
            ("BadNet", "none"): 0.9994,
            ("BadNet", "FT"): 0.998,
            ("Label-Consistent", "none"): 0.8358,
            ("Label-Consistent", "FT"): 0.7012,
        }
    )
    assert values(points, CA)["Label-Consistent", "FT"] == pytest.approx(0.1843)
    # trials, for the study has no other rows, in the words of the paper
    assert {(point.is_victim, point.attack) for point in points} == {(False, "BadNet"), (False, "LabelConsistent")}


def test_numbers_may_stand_for_parts_of_a_setting() -> None:
    match = {"attack.num_poisoned": {"column": "setting", "values": STAND_INS}}
    defended = build(Pick, TABLE5 | {"match": match}, "study.yaml")
    victims = build(Pick, TABLE5 | {"match": match, "defense": "No defense", "at": "victim"}, "study.yaml")
    # Table 5 has no accuracy; 1500 poisons are not taken for the 500 in them
    assert values(published_points([defended], [POISONS])) == pytest.approx(
        {(5.0,): 0.0238, (20.0,): 0.0366, (100.0,): 0.077}
    )
    found = published_points([victims], [POISONS, LAMBDA])
    # those without a defense are victims, at their number of poisons and at no λ₂
    assert values(found) == pytest.approx({(5.0, None): 0.9526, (20.0, None): 0.981, (100.0, None): 0.9994})
    assert all(point.is_victim for point in found)


def test_a_setting_narrows_a_table_down() -> None:
    pick = Pick(
        paper="CleanCLIP",
        table="Table7",
        setting="finetune data CC50K",
        match={"attack": AxisMatch(column="attack", values={"Label-Consistent": "LabelConsistent"})},
    )
    # of three sizes of the finetuning data
    assert values(published_points([pick], [ATTACK])) == pytest.approx(
        {("BadNet",): 0.5032, ("Label-Consistent",): 0.2028}
    )


def test_titles() -> None:
    # readable names for legends
    assert FIG5.title == "CleanCLIP Fig. 5, Blended"
    assert Pick(paper="UBT", table="Table1", attack="BadNet", at="x").title == "UBT Table 1, BadNet"
    assert build(Pick, TABLE5 | {"at": 5}, "").title == "CleanCLIP Table 5, CleanCLIP"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"paper": "CleanClip"}, "there is no paper 'CleanClip'. Did you mean 'CleanCLIP'"),
        ({"table": "Fig6"}, "there is no table 'Fig6'. Did you mean 'Fig5'"),
        ({"attack": "blended"}, "there is no attack 'blended'. Did you mean 'Blended'"),
        ({"setting": "lambda1=2"}, "there is no setting 'lambda1=2'. Did you mean 'lambda"),
        ({"axis": "lambda3"}, "holds no number for axis 'lambda3'"),
        ({"table": "Table1", "axis": None, "at": 0}, "several CA for 0. Set `defense` to one of: finetune MMCL"),
        ({"axis": None, "at": 0}, "Set `setting` to one of: lambda2=0.5, lambda2=1, "),
        (
            {"attack": None, "table": "Table3", "axis": None, "at": "victim"},
            "for victim. Set `attack` to one of: BadNe",
        ),
        ({"axis": None, "at": "FT"}, "at: 'FT' is no value of the axis defense.in_modal_weight"),
        (
            {"paper": "CleanerCLIP", "table": "Table2", "attack": "BadNet", "axis": None, "at": 0},
            "has several accuracy for 0. Set `defense` to one of: CleanCLIP, ",
        ),
    ],
)
def test_wrong_pick_says_what_is_known(change: dict[str, str], message: str) -> None:
    fields = {"paper": "CleanCLIP", "table": "Fig5", "attack": "Blended", "axis": "lambda2"} | change
    # one clear error with the nearest known name
    with pytest.raises(ConfigError, match=message):
        published_points([build(Pick, fields, "study.yaml")], [LAMBDA])


def test_a_metric_that_nobody_measures_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # As a newly printed one would be, for all that are in the file so far are measured.
    monkeypatch.delitem(METRICS, "accuracy, linear probe on DTD")
    probes = Pick(paper="CleanerCLIP", table="Table2", defense="FT", setting="linear probe on DTD", at=0)
    with pytest.raises(ConfigError, match="has only accuracy, which bdray does not measure"):
        published_points([probes], [LAMBDA])


def test_probes_stand_beside_probes() -> None:
    pick = Pick(
        paper="CleanerCLIP", table="Table2", match={"defense": AxisMatch(column="defense", values={"UBT": None})}
    )
    axis = Axis(field="defense", label="defense", values=["FT", "CleanCLIP", "UBT"])
    found = {(point.metric, *point.point): point.value for point in published_points([pick], [axis])}
    # The setting says which set a printed accuracy is of: nine columns, of which the attack's own task is one.
    assert len(found) == 18
    assert found["linear_probe_clean_accuracy", "FT"] == pytest.approx(0.6058)
    assert found["probe_rendered_sst2_accuracy", "CleanCLIP"] == pytest.approx(0.7035)
    names = {name for name, _ in found} - {"linear_probe_clean_accuracy"}
    assert names == {f"probe_{name}_accuracy" for name in TABLE2}


SAME = {"column": "attack"}
TO_NULL = "If the table lacks it, set its value to null in `values`"


@pytest.mark.parametrize(
    ("match", "axes", "message"),
    [
        ({"atack": SAME}, [ATTACK], r"match.atack: is no axis of the study. Did you mean 'attack'"),
        ({"attack": SAME}, [ATTACK], rf"match.attack: .* no attack 'Label-C.*'LabelConsistent'\? {TO_NULL}"),
        (
            {"attack": {"column": "attack", "values": {"SIG": "SIG"}}},
            [ATTACK],
            "match.attack.values: 'SIG' is no value",
        ),
        ({"attack": {"column": "attack", "values": {"BadNet": "x"}}}, [ATTACK], "no attack 'x'. Known: .*WaNet"),
        ({"attack": SAME}, [ATTACK, DEFENSE], "match.defense: is missing. Say in which column"),
        ({"attack": SAME}, [Axis(field="attack", label="attack")], "match.attack: a search chooses the values"),
        ({"defense": {"column": "defense"}}, [DEFENSE], "match.defense: there is no defense 'none'"),
    ],
)
def test_wrong_match_says_what_exists(match: Any, axes: list[Axis], message: str) -> None:
    pick = build(Pick, {"paper": "CleanCLIP", "table": "Table1", "match": match}, "study.yaml")
    # the axis, the name that is not there, and what to do
    with pytest.raises(ConfigError, match=message):
        published_points([pick], axes)


def test_a_table_with_several_numbers_for_a_point_is_refused() -> None:
    pick = build(Pick, TABLE1 | {"match": {"attack": TABLE1["match"]["attack"]}}, "study.yaml")
    # six paradigms of the same attack
    with pytest.raises(ConfigError, match=r"several CA for BadNet. Set `defense` to one of: finetune MMCL \(FT\), "):
        published_points([pick], [ATTACK])


@pytest.mark.parametrize("axes", [[], [LAMBDA, DEFENSE]])
@pytest.mark.parametrize("pick", [FIG5, Pick(paper="UBT", table="Table1", attack="SIG", defense="UBT", at=0)])
def test_a_place_on_the_axis_needs_one_axis(pick: Pick, axes: list[Axis]) -> None:
    # not none, and not two
    with pytest.raises(ConfigError, match=rf"need one axis, but the study has {len(axes)}. Use `match`"):
        published_points([pick], axes)


def test_a_curve_needs_numbers() -> None:
    # which named choices are not
    with pytest.raises(ConfigError, match="the axis defense has no list of numbers"):
        published_points([FIG5], [DEFENSE])


@pytest.mark.parametrize(
    "form",
    [{}, {"axis": "lambda2", "at": 0}, {"at": 0, "match": {"attack": SAME}}, {"axis": "x", "match": {"a": SAME}}],
)
def test_a_pick_has_one_form(form: dict[str, Any]) -> None:
    # none or several are refused at load
    with pytest.raises(ConfigError, match="exactly one of `axis`"):
        build(Pick, {"paper": "CleanCLIP", "table": "Fig5"} | form, "study.yaml")


def test_every_printed_number_is_shipped() -> None:
    shipped = Path(__file__).parents[3] / "bdray" / "report" / "data" / "published.csv"
    # 470 numbers and a header
    assert len(shipped.read_text(encoding="utf-8").splitlines()) == 471
