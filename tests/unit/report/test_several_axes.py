"""Studies whose victims differ from point to point, and the published numbers beside all of their rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdray.report import figures, html
from bdray.report.crossed import describe_crossed
from bdray.report.figures.bars import Bars
from bdray.report.figures.colors import PUBLISHED, VICTIM
from bdray.report.figures.curve import Curve
from bdray.report.results import load
from bdray.report.tables import summarize

Write = Callable[..., Path]
Row = Callable[..., dict[str, Any]]

ATTACKS = {"column": "attack", "values": {"Label-Consistent": "LabelConsistent"}}
DEFENSES = {"column": "defense", "values": {"FT": "finetune MMCL (FT)", "CleanCLIP": "finetune MMCL+SSL (CleanCLIP)"}}
CROSSED: dict[str, Any] = {
    "axes": [
        {"field": "attack", "label": "attack", "values": ["Label-Consistent", "BadNet"]},
        {"field": "defense", "label": "defense", "values": ["FT", "CleanCLIP"]},
    ],
    "seeds": [0, 1],
    "compare": [],
    "planned_trials": 8,
    "published": [
        {"paper": "CleanCLIP", "table": "Table1", "match": {"attack": ATTACKS, "defense": DEFENSES}},
        {
            "paper": "CleanCLIP",
            "table": "Table1",
            "defense": "pretrain MMCL (No defense)",
            "at": "victim",
            "match": {"attack": ATTACKS},
        },
    ],
}
STAND_INS = {"5": "75 poisons", "20": "300 poisons", "100": "1500 poisons"}
TABLE5 = {
    "paper": "CleanCLIP",
    "table": "Table5",
    "match": {"attack.num_poisoned": {"column": "setting", "values": STAND_INS}},
}
POISONS: dict[str, Any] = {
    "axes": [{"field": "attack.num_poisoned", "label": "poisons", "values": [5, 20, 100]}],
    "seeds": [0, 1],
    "compare": [],
    "planned_trials": 6,
    "published": [TABLE5 | {"defense": "CleanCLIP"}, TABLE5 | {"defense": "No defense", "at": "victim"}],
}


@pytest.fixture
def crossed(write: Write, model_row: Row) -> Path:
    """Two attacks by two defenses, with a victim for each attack."""
    models = []
    for attack in ("BadNet", "Label-Consistent"):
        for seed in (0, 1):
            for defense, asr in (("", 0.9), ("FT", 0.6), ("CleanCLIP", 0.1)):
                role = "trial" if defense else "victim"
                row = model_row(role, seed, None, asr + 0.02 * seed, 0.9) | {"attack": attack, "defense": defense}
                models.append(row | {"key": f"{attack}-{defense}-{seed}"})
    return write(CROSSED, models, [])


@pytest.fixture
def poisons(write: Write, model_row: Row) -> Path:
    """Three numbers of poisons, each with a victim."""
    models = []
    for level, asr in ((5, 0.2), (20, 0.8), (100, 0.98)):
        for seed in (0, 1):
            victim = model_row("victim", seed, None, asr + 0.01 * seed, 0.9)
            trial = model_row("trial", seed, None, asr / 4 + 0.02 * seed, 0.9)
            models += [row | {"attack.num_poisoned": level, "key": f"{level}{row['key']}"} for row in (victim, trial)]
    return write(POISONS, models, [])


def render(folder: Path) -> str:
    """The page without its figures."""
    results = load(folder)
    return html.render(results, summarize(results), [], [])


def test_every_row_of_the_table_has_its_published_number(crossed: Path) -> None:
    summary = summarize(load(crossed))
    # each trial at its attack and defense, each victim at its attack, in the order of the axes
    assert [(*line[:2], line[3]) for line in summary.lines()] == [
        ("Label-Consistent, victim (no defense)", "–", "83.6"),
        ("BadNet, victim (no defense)", "–", "99.9"),
        ("Label-Consistent", "FT", "70.1"),
        ("Label-Consistent", "CleanCLIP", "11.1"),
        ("BadNet", "FT", "99.8"),
        ("BadNet", "CleanCLIP", "10.5"),
    ]
    # one column beside each metric, however many numbers there are
    assert summary.header[2:] == ["ASR@1 (%) ↓", "ASR@1 published", "CA@1 (%) ↑", "CA@1 published", "seeds"]


def test_bars_carry_the_published_number(crossed: Path) -> None:
    panels = figures.result_panels(load(crossed))
    assert [type(panel) for panel in panels] == [Bars, Bars]
    axes = figures.compose(panels).axes[0]
    drawn = [np.asarray(line.get_xydata())[0] for line in axes.lines if line.get_marker() == "D"]
    # victims above, then the points, in the table's order, each on its own bar
    assert [round(x, 2) for x, _ in drawn] == [83.58, 99.94, 70.12, 11.08, 99.8, 10.46]
    assert [round(y) for _, y in drawn] == [0, 1, 2, 3, 4, 5]


def test_victims_of_several_levels_are_a_curve(poisons: Path) -> None:
    asr, _ = figures.result_panels(load(poisons))
    assert isinstance(asr, Curve)
    axes = figures.compose([asr]).axes[0]
    curves = [(line.get_color(), *np.asarray(line.get_ydata()).round(2)) for line in axes.lines]
    # means of the victims, at their number of poisons
    assert (VICTIM[0], 20.5, 80.5, 98.5) in curves
    # what the paper prints for victims and for defended models
    assert (PUBLISHED[0], 95.26, 98.1, 99.94) in curves
    assert (PUBLISHED[0], 2.38, 3.66, 7.7) in curves
    # all of them named
    names = {text.get_text().replace("\n", " ") for text in axes.texts}
    assert {"victim, no defense", "published, CleanCLIP Table 5, No defense"} <= names


def test_the_page_says_what_stands_for_what(poisons: Path) -> None:
    page = render(poisons)
    pairs = "poisons 5 for 75 poisons, 20 for 300 poisons and 100 for 1500 poisons"
    # one line for each pick: what its settings share, and which of our values is which of the paper's
    assert f"<li>CleanCLIP Table 5, BadNet, CleanCLIP: CC3M 3M; {pairs}.</li>" in page
    assert f"<li>CleanCLIP Table 5, BadNet, No defense: CC3M 3M; {pairs}.</li>" in page
    # and only one
    assert page.count("Table 5, BadNet, No defense:") == 1


def test_a_pick_of_a_whole_table_is_one_line(crossed: Path) -> None:
    page = render(crossed)
    shared = "RN50; pretrained on CC3M; 1500 poisons; ImageNet-1K zero-shot top1"
    names = "defense FT for finetune MMCL (FT) and CleanCLIP for finetune MMCL+SSL (CleanCLIP)"
    # neither one attack nor one defense to name; BadNet is called the same in both
    assert f"<li>CleanCLIP Table 1: {shared}; finetune 100K clean CC3M; attack Label-Consistent for Label" in page
    assert f"for LabelConsistent; {names}.</li>" in page


def test_settings_without_anything_in_common(write: Write, model_row: Row) -> None:
    data = {"column": "setting", "values": {"0": "finetune data MSCOCO 100K", "1": "finetune data SBUCaptions 100K"}}
    pick = {"paper": "CleanCLIP", "table": "Table4", "attack": "Blended", "defense": "CleanCLIP"}
    axes = [{"field": "defense.in_modal_weight", "label": "data", "values": [0, 1]}]
    study = {"axes": axes, "published": [pick | {"match": {"defense.in_modal_weight": data}}], "planned_trials": 2}
    page = render(write(study | {"seeds": [0]}, [model_row("trial", 0, 1, 0.5, 0.9)], []))
    # the pairs alone
    start = "<li>CleanCLIP Table 4, Blended, CleanCLIP: data 0 for finetune data MSCOCO 100K and 1 for finetune"
    assert start in page


def test_the_finding_names_the_best_choice_of_every_row(crossed: Path) -> None:
    results = load(crossed)
    metric = results.study.metrics[0]
    means = {
        point: results.at(results.trials, point)[metric.name].mean() * 100
        for point in (
            ("BadNet", "FT"),
            ("BadNet", "CleanCLIP"),
            ("Label-Consistent", "FT"),
            ("Label-Consistent", "CleanCLIP"),
        )
    }
    text = describe_crossed(results, metric)
    # The lowest attack success of each attack, and each defense's mean over both.
    for attack in ("BadNet", "Label-Consistent"):
        best = min(("FT", "CleanCLIP"), key=lambda defense: means[attack, defense])
        assert f"with {best} for" in text
        assert f"{attack} ({means[attack, best]:.1f}%)" in text
    for defense in ("FT", "CleanCLIP"):
        average = (means["BadNet", defense] + means["Label-Consistent", defense]) / 2
        assert f"{defense} {average:.1f}%" in text
    assert "Averaged over 2 values of attack" in text
