from pathlib import Path

import pytest

from bdray.config import build
from bdray.exceptions import ConfigError
from bdray.report.published import Published, published_points

FIG5 = Published(paper="CleanCLIP", table="Fig5", attack="Blended", axis="lambda2")


def test_fig5_is_exactly_ten_numbers() -> None:
    points = {(point.metric, point.level): point.value for point in published_points([FIG5])}
    # the five points of each panel, as fractions, and nothing else
    assert points == pytest.approx(
        {
            ("attack_success_rate_top1", 0.5): 0.0748,
            ("attack_success_rate_top1", 1.0): 0.072,
            ("attack_success_rate_top1", 2.0): 0.0427,
            ("attack_success_rate_top1", 4.0): 0.0289,
            ("attack_success_rate_top1", 8.0): 0.0183,
            ("clean_accuracy_top1", 0.5): 0.178,
            ("clean_accuracy_top1", 1.0): 0.1814,
            ("clean_accuracy_top1", 2.0): 0.178,
            ("clean_accuracy_top1", 4.0): 0.18,
            ("clean_accuracy_top1", 8.0): 0.174,
        }
    )


def test_single_number_stands_where_the_study_puts_it() -> None:
    pick = Published(paper="CleanCLIP", table="Table1", attack="Blended", defense="finetune MMCL (FT)", at=0)
    # the FT row of Table 1 beside λ₂ = 0
    assert {(p.metric, p.level, p.value) for p in published_points([pick])} == {
        ("attack_success_rate_top1", 0.0, 0.99),
        ("clean_accuracy_top1", 0.0, 0.1783),
    }


def test_titles() -> None:
    # readable names for legends
    assert FIG5.title == "CleanCLIP Fig. 5, Blended"
    assert Published(paper="UBT", table="Table1", attack="BadNet", at="x").title == "UBT Table 1, BadNet"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"paper": "CleanClip"}, "there is no paper 'CleanClip'. Did you mean 'CleanCLIP'"),
        ({"table": "Fig6"}, "there is no table 'Fig6'. Did you mean 'Fig5'"),
        ({"attack": "blended"}, "there is no attack 'blended'. Did you mean 'Blended'"),
        ({"axis": "lambda3"}, "holds no number for axis 'lambda3'"),
        ({"table": "Table1", "axis": None, "at": 0}, "Set `defense` to one of:"),
    ],
)
def test_wrong_pick_says_what_is_known(change: dict[str, str], message: str) -> None:
    fields = {"paper": "CleanCLIP", "table": "Fig5", "attack": "Blended", "axis": "lambda2"} | change
    # one clear error with the nearest known name
    with pytest.raises(ConfigError, match=message):
        published_points([build(Published, fields, "study.yaml")])


def test_pick_is_a_curve_or_a_number() -> None:
    # neither or both is refused at load
    with pytest.raises(ConfigError, match="exactly one of `axis`"):
        build(Published, {"paper": "CleanCLIP", "table": "Fig5", "attack": "Blended"}, "study.yaml")


def test_every_printed_number_is_shipped() -> None:
    shipped = Path(__file__).parents[3] / "bdray" / "report" / "data" / "published.csv"
    # 470 numbers and a header
    assert len(shipped.read_text(encoding="utf-8").splitlines()) == 471
