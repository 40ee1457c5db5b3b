"""What a study says of other bases than its own."""

from pathlib import Path

import pytest

from bdray.exceptions import ConfigError
from bdray.study.spec import load

STUDY = """
title: Two scales
base: tiny
experiment: {defense: {clip_weight: 0.5}}
axes:
  defense.in_modal_weight: {values: [0, 1], names: {"0": FT}}
deviations: [small]
for_base:
  paper:
    experiment: {}
    axes:
      defense.in_modal_weight: {values: [2, 4, 8]}
    deviations: []
  paper/large:
    seeds: [7]
"""


@pytest.fixture
def folder(workplace: Path) -> Path:
    """Studies, one of which has fields for other bases."""
    folder = workplace / "studies"
    (folder / "base" / "paper").mkdir()
    for name in ("small", "large", "largest"):
        (folder / "base" / "paper" / f"{name}.yaml").write_text("base: tiny\n", encoding="utf-8")
    (folder / "some" / "scales.yaml").write_text(STUDY, encoding="utf-8")
    return folder


def test_its_own_base_knows_nothing_of_others(folder: Path) -> None:
    for base in (None, "blended"):
        study = load("some/scales", base=base).study
        assert study.axes["defense.in_modal_weight"].choices == (0, 1)
        assert (study.seeds, study.deviations) == ((0, 1, 2), ("small",))


def test_fields_are_replaced_as_wholes(folder: Path) -> None:
    loaded = load("some/scales", base="paper/small")
    axis = loaded.study.axes["defense.in_modal_weight"]
    # Neither a value nor a name of the other axis is left, nor what the study says of its experiment.
    assert (axis.choices, axis.names, loaded.study.deviations) == ((2, 4, 8), {}, ())
    assert "clip_weight" not in loaded.base["defense"]
    # Fields that are not there stay.
    assert loaded.study.title == "Two scales"


def test_names_are_those_of_folders_and_files(folder: Path) -> None:
    # "paper/large" means neither its neighbors nor a base whose name goes on.
    seeds = [load("some/scales", base=f"paper/{name}").study.seeds for name in ("small", "large", "largest")]
    assert seeds == [(0, 1, 2), (7,), (0, 1, 2)]


def test_what_is_said_for_a_base_wins_over_its_folder(folder: Path) -> None:
    head, _, _ = STUDY.partition("for_base:")
    entries = ["  paper/large: {seeds: [7]}", "  paper: {seeds: [3, 4], deviations: []}"]
    for order in (entries, entries[::-1]):
        text = "\n".join([f"{head}for_base:", *order, ""])
        (folder / "some" / "scales.yaml").write_text(text, encoding="utf-8")
        # In whatever order the file has them.
        small, large = (load("some/scales", base=f"paper/{name}").study for name in ("small", "large"))
        assert (small.seeds, large.seeds) == ((3, 4), (7,))
        assert small.deviations == large.deviations == ()


def test_the_command_line_has_the_last_word(folder: Path) -> None:
    loaded = load("some/scales", ["base=paper/large", "seeds=[1]", "defense.clip_weight=3"])
    assert loaded.study.seeds == (1,)
    assert loaded.base["defense"]["clip_weight"] == 3
    assert len(loaded.study.axes["defense.in_modal_weight"].choices) == 3


def test_what_it_says_of_others_does_not_change_its_results(folder: Path) -> None:
    before = load("some/scales").id
    text = STUDY.replace("seeds: [7]", "seeds: [8]")
    (folder / "some" / "scales.yaml").write_text(text, encoding="utf-8")
    assert load("some/scales").id == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("paper/large:", "paper/larg:", "for_base.paper/larg: there is no such base, nor a folder of bases. Did you"),
        (
            "    seeds: [7]",
            "    base: tiny",
            "paper/large: 'base' is no field of a study that another base may replace",
        ),
        ("    seeds: [7]", "    seds: [7]", "paper/large: 'seds' is no field"),
        ("    seeds: [7]", "    seeds: [x]", r"for_base\.paper/large: seeds\.0: "),
        ("    seeds: [7]", "    split: tset", r"for_base\.paper/large: split: "),
        ("values: [2, 4, 8]", "valuse: [2, 4, 8]", r"for_base\.paper: axes\.defense\.in_modal_weight.*valuse"),
    ],
)
def test_mistakes_are_found_under_any_base(folder: Path, old: str, new: str, message: str) -> None:
    (folder / "some" / "scales.yaml").write_text(STUDY.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load("some/scales")
