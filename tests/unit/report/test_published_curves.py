from typing import Any

import pytest

from bdray.exceptions import ConfigError
from bdray.report.picks import Pick
from bdray.report.published import published_points
from bdray.report.published_curves import PublishedCurve, published_curves
from bdray.report.study import Axis

ASR, CA = "attack_success_rate_top1", "clean_accuracy_top1"


def curves(table: str, sizes: str, **more: Any) -> dict[tuple[str, str, str], PublishedCurve]:
    found = published_curves([Pick(paper="CleanCLIP", table=table, sizes=sizes, **more)])
    return {(curve.metric, curve.attack, curve.defense): curve for curve in found}


def test_tables_5_to_8_along_their_own_sizes() -> None:
    table5 = curves("Table5", "{} poisons")
    assert table5[ASR, "BadNet", "CleanCLIP"].values == pytest.approx({75: 0.0238, 300: 0.0366, 1500: 0.077})
    assert table5[ASR, "BadNet", "CleanCLIP"].size_label == "poisons"
    # The number of poisons is in these settings, too, but is not the size that was asked for.
    table6 = curves("Table6", "pretraining size {}", defense="CleanCLIP")
    assert [curve.values for curve in table6.values()] == [pytest.approx({5e5: 0.2466, 1.5e6: 0.1091, 3e6: 0.077})]
    table7 = curves("Table7", "finetune data CC{}")
    # Four attacks and their average, each with both metrics.
    assert len(table7) == 10
    assert table7[CA, "Average", "CleanCLIP"].values == pytest.approx({1e4: 0.1845, 5e4: 0.1857, 1e5: 0.1845})
    table8 = curves("Table8", "finetune data ImageNet {}", attack="Average")
    assert table8[CA, "Average", "supervised finetune"].values == pytest.approx({5e3: 0.127, 1e4: 0.2185, 5e4: 0.4101})


def test_such_a_curve_has_no_place_on_the_axis_of_a_study() -> None:
    pick = Pick(paper="CleanCLIP", table="Table5", sizes="{} poisons")
    axis = Axis(field="attack.num_poisoned", label="poisons", values=[75, 300])
    # Not even where the study has the same value.
    assert published_points([pick], [axis]) == ()


def test_a_pattern_that_is_nowhere_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"CleanCLIP Table 5.*'\{\} pairs'.*75 poisons"):
        curves("Table5", "{} pairs")


@pytest.mark.parametrize("sizes", ["poisons", "{} of {}", "{"])
def test_a_pattern_has_one_place_for_the_number(sizes: str) -> None:
    with pytest.raises(ValueError, match="sizes"):
        Pick(paper="CleanCLIP", table="Table5", sizes=sizes)


def test_sizes_are_a_form_of_their_own() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Pick(paper="CleanCLIP", table="Table5", sizes="{} poisons", at="victim")
