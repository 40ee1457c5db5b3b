"""Similarities of pairs: what of a defense's file is judged, and what is refused of a file from elsewhere."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdray.exceptions import ConfigError, DataError
from bdray.report import build
from bdray.report.figures import compose_densities, densities, density_panels
from bdray.report.results import load
from bdray.report.similarities import MAX_BYTES, SCORES, Pairs

UBT = """sample,is_poisoned,is_suspicious,is_detected,clean_similarity,victim_similarity,overfitted_similarity
3,False,False,False,0.9,0.9,0.99
4,True,True,True,0.1,0.9,0.9
5,False,True,False,0.2,0.9,0.3
6,False,True,False,0.3,0.9,0.5
"""
ABL = "sample,is_poisoned,is_suspicious,clean_similarity\n3,False,False,0.9\n4,True,True,0.1\n5,False,True,0.2\n"
ATTACK = {"field": "attack", "label": "attack", "values": ["BadNet", "SIG"]}
DEFENSE = {"field": "defense", "label": "defense", "values": ["ABL", "UBT"]}
FLOOR = {"field": "defense.floor", "label": "floor", "values": [0, 0.5, 1]}

Judge = Callable[..., Path]


@pytest.fixture
def judge(write: Callable[..., Path]) -> Judge:
    """Writes a study with these files, by the values of its axes; None leaves the file out."""

    def write_files(files: dict[tuple[Any, ...], str | None], *axes: dict[str, Any]) -> Path:
        fields = [axis["field"] for axis in axes]
        listed = [
            {"point": dict(zip(fields, point, strict=True)), "seed": 0, "file": f"similarities/p{index}.csv"}
            for index, point in enumerate(files)
        ]
        metrics = [{"name": "detection_auroc", "label": "AUROC", "goal": "max"}]
        own = {"axes": list(axes), "compare": [], "published": [], "metrics": metrics, "similarities": listed}
        folder = write(own, models=[], history=[])
        (folder / "similarities").mkdir()
        for item, text in zip(listed, files.values(), strict=True):
            if text is not None:
                (folder / str(item["file"])).write_text(text, encoding="utf-8")
        return folder

    return write_files


def read(folder: Path) -> Pairs:
    """The only file's pairs."""
    (judged,) = load(folder).judged
    assert judged.pairs is not None
    return judged.pairs


def test_ubt_is_judged_among_its_suspicious_pairs(judge: Judge) -> None:
    pairs = read(judge({(): UBT}))
    # the best of all similarities is that of a pair that UBT does not rank
    assert (pairs.score.model, list(pairs.clean), list(pairs.poisoned)) == ("overfitted model", [0.3, 0.5], [0.9])
    # poison lies above
    assert pairs.auroc == 1


def test_abl_is_judged_among_all_pairs(judge: Judge) -> None:
    pairs = read(judge({(): ABL}))
    # by the clean model, also those that are not suspicious
    assert (pairs.score.model, list(pairs.clean), list(pairs.poisoned)) == ("clean model", [0.9, 0.2], [0.1])
    # poison lies below
    assert pairs.auroc == 1


def test_abl_without_a_clean_model_suspects_what_is_learned_first(judge: Judge) -> None:
    # the same numbers under the model in training mean the opposite
    assert read(judge({(): ABL.replace("clean_similarity", "similarity")})).auroc == 0


@pytest.mark.parametrize("score", SCORES)
def test_auroc_counts_pairs_of_pairs(score: Any) -> None:
    rng = np.random.default_rng(0)
    clean, poisoned = rng.integers(0, 8, 30) / 8, rng.integers(2, 10, 12) / 8
    wins = np.mean([(p > c) + (p == c) / 2 for p in poisoned for c in clean])
    # as its definition says, ties included
    assert Pairs(score, clean, poisoned).auroc == pytest.approx(wins if score.suspects_high else 1 - wins)
    # of one kind alone there is none
    assert math.isnan(Pairs(score, clean, poisoned[:0]).auroc)


def test_a_panel_for_each_point(judge: Judge) -> None:
    files = {("BadNet", "ABL"): ABL, ("BadNet", "UBT"): UBT, ("SIG", "UBT"): UBT}
    panels = density_panels(load(judge(files, ATTACK, DEFENSE)))
    # titles say which point, and which pairs under which model
    assert [(panel.title, panel.subtitle) for panel in panels] == [
        ("BadNet, ABL", "clean model, all 3 pairs"),
        ("BadNet, UBT", "overfitted model, the 3 suspicious pairs"),
        ("SIG, UBT", "overfitted model, the 3 suspicious pairs"),
    ]
    # alike where the same is drawn, and wide enough for all of it
    assert panels[1].limits == panels[2].limits != panels[0].limits
    assert panels[0].limits[0] < 0.1 < 0.9 < panels[0].limits[1]
    first, second, third = (axes.get_position() for axes in compose_densities(panels).axes)
    # rows are attacks, columns are defenses
    assert first.x0 < second.x0 == third.x0
    assert first.y0 == second.y0 > third.y0


def test_panels_of_one_axis_stand_abreast(judge: Judge) -> None:
    panels = density_panels(load(judge({(0,): UBT, (0.5,): UBT, (1,): UBT}, FLOOR)))
    # numbers are named
    assert [panel.title for panel in panels] == ["floor = 0", "floor = 0.5", "floor = 1"]
    first, second, third = (axes.get_position() for axes in compose_densities(panels).axes)
    # two in a row
    assert (first.y0, first.x0) == (second.y0, third.x0)
    assert first.y0 > third.y0


def test_a_histogram_has_the_area_of_a_density(judge: Judge) -> None:
    from matplotlib.patches import StepPatch

    (axes,) = compose_densities(density_panels(load(judge({(): UBT})))).axes
    steps = [patch.get_data() for patch in axes.patches if isinstance(patch, StepPatch) and not patch.get_fill()]
    # both kinds, whatever their numbers of pairs
    assert [float(np.sum(values * np.diff(edges))) for values, edges, _ in steps] == pytest.approx([1, 1])
    legend = axes.get_legend()
    assert legend is not None
    # what is drawn, how often, and how well it is told apart
    assert [text.get_text() for text in legend.get_texts()] == ["clean, 2", "poisoned, 1"]
    assert legend.get_title().get_text() == "AUROC 1.000"


@pytest.mark.parametrize("lines", [[1], [2], [1, 1, 1]])
def test_one_kind_of_pairs_or_one_value_is_drawn(judge: Judge, lines: list[int]) -> None:
    head, *rows = ABL.splitlines()
    folder = judge({(): "\n".join([head, *(rows[line] for line in lines)])})
    # without an area under a curve, and without a warning of NumPy's
    assert {"densities.png", "densities.svg", "densities.pdf"} <= {path.name for path in build(folder).files}


def test_the_page_shows_and_misses(judge: Judge) -> None:
    report = build(judge({("ABL",): ABL, ("UBT",): None}, DEFENSE))
    text = report.page.read_text(encoding="utf-8")
    # what is there is drawn, what is not is named
    assert "<h2>Similarity of clean and poisoned pairs</h2>" in text
    assert 'aria-label="ABL: densities' in text
    assert "<code>similarities/p1.csv</code> is not there" in text
    assert 'aria-label="UBT: densities' not in text


def test_no_file_no_figure(judge: Judge) -> None:
    report = build(judge({("UBT",): None}, DEFENSE))
    # the section stays, to say so
    assert "<code>similarities/p0.csv</code> is not there" in report.page.read_text(encoding="utf-8")
    assert not any(path.name.startswith("densities") for path in report.files)


def test_a_study_without_detection_has_no_such_section(full_report: Any) -> None:
    # nothing is missing where nothing was listed
    assert "Similarity of clean and poisoned pairs" not in full_report.page.read_text(encoding="utf-8")


def test_many_points_are_not_all_drawn(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(densities, "MAX_PANELS", 1)
    report = build(judge({(0,): ABL, (0.5,): ABL, (1,): None}, FLOOR))
    text = report.page.read_text(encoding="utf-8")
    # a picture has an end, and the page says what it leaves out
    assert text.count("densities of the similarities") == 1
    assert "1 more in the folder" in text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (
            UBT.replace("overfitted_", "o_").replace("clean_", "c_"),
            "must have one of the columns overfitted_similarity",
        ),
        (UBT.replace("is_poisoned", "poisoned"), "the column 'is_poisoned' is missing"),
        (UBT.replace("is_suspicious", "suspicious"), "the column 'is_suspicious' is missing"),
        (UBT.replace("True,True,True", "yes,True,True"), "pair 2: is_poisoned must be True or False, but is 'yes'"),
        (UBT.replace("0.3\n", "nan\n"), "pair 3: overfitted_similarity must be a number from -1 to 1, but is 'nan'"),
        (UBT.replace("0.3\n", "\n"), "pair 3: overfitted_similarity must be a number from -1 to 1, but is ''"),
        (UBT.replace("0.3\n", "inf\n"), "pair 3: .* but is 'inf'"),
        (UBT.replace("0.3\n", "1e400\n"), "pair 3: .* but is '1e400'"),
        (UBT.replace("0.3\n", f"{'9' * 400}\n"), "pair 3: .* but is '9{40}'"),
        (UBT.replace("0.3\n", "-1.5\n"), "pair 3: .* but is '-1.5'"),
        (UBT.replace("0.3\n", "<script>\n"), "pair 3: .* but is '<script>'"),
        (UBT.splitlines()[0], "must hold at least one suspicious pair"),
        (UBT.replace("True", "False"), "must hold at least one suspicious pair"),
        (ABL.splitlines()[0], "must hold at least one pair"),
        (f"{ABL}1,2,3,4,5,6\n", "pair 4: is_poisoned must be True or False, but is '2'"),
        (f'{ABL}"', "cannot be read as CSV"),
        ("", "cannot be read as CSV"),
    ],
)
def test_a_file_that_no_defense_wrote_is_refused(judge: Judge, text: str, rule: str) -> None:
    # by its name and the rule that it breaks
    with pytest.raises(DataError, match=rf"similarities/p0\.csv: {rule}"):
        load(judge({(): text}))


def test_bytes_that_are_no_text_are_refused(judge: Judge) -> None:
    folder = judge({(): ""})
    (folder / "similarities/p0.csv").write_bytes(ABL.encode() + b"6,\xff\xfe,True,0.1")
    # as any other damage
    with pytest.raises(DataError, match=r"p0\.csv: cannot be read as CSV"):
        load(folder)


def test_a_file_too_large_is_refused_unread(judge: Judge) -> None:
    folder = judge({(): ABL})
    os.truncate(folder / "similarities/p0.csv", MAX_BYTES + 1)
    # before it takes all memory
    with pytest.raises(DataError, match=r"p0\.csv: must be a file of at most 64 MiB"):
        load(folder)


def test_a_folder_in_place_of_a_file_is_refused(judge: Judge) -> None:
    folder = judge({(): None})
    (folder / "similarities/p0.csv").mkdir()
    # it is there, so it is not merely missing
    with pytest.raises(DataError, match=r"p0\.csv: must be a file"):
        load(folder)


def test_a_link_out_of_the_folder_is_refused(judge: Judge, tmp_path: Path) -> None:
    folder = judge({(): None})
    (tmp_path / "private.csv").write_text(ABL, encoding="utf-8")
    (folder / "similarities/p0.csv").symlink_to(tmp_path / "private.csv")
    # a report that someone sends on must not carry what lies elsewhere on this machine
    with pytest.raises(ConfigError, match=r"study\.json: similarities: similarities/p0\.csv leads out of the study's"):
        load(folder)


@pytest.mark.parametrize("file", ["../a.csv", "/etc/a.csv", "similarities/../a.csv", "similarities/a.txt", "a.csv"])
def test_a_path_out_of_the_folder_is_refused(write: Callable[..., Path], file: str) -> None:
    folder = write({"similarities": [{"point": {}, "seed": 0, "file": file}]})
    # whatever study.json says, only the folder of similarities is read
    with pytest.raises(ConfigError, match=r"study\.json.*similarities\.0\.file"):
        load(folder)


@pytest.mark.parametrize(
    ("point", "rule"),
    [
        ({"defense.floor": 0, "attack": "SIG"}, "may have values for the axes"),
        ({"defense.floor": "high"}, "is none of the axes'"),
    ],
)
def test_a_point_of_another_study_is_refused(write: Callable[..., Path], point: dict[str, Any], rule: str) -> None:
    listed = [{"point": point, "seed": 0, "file": "similarities/a.csv"}]
    own = {"axes": [FLOOR], "compare": [], "published": [], "similarities": listed}
    # a panel needs a place and a title
    with pytest.raises(ConfigError, match=rf"study\.json: similarities: the point of similarities/a\.csv {rule}"):
        load(write(own, models=[], history=[]))
