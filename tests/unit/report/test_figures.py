import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdray.report import figures
from bdray.report.examples import Picture
from bdray.report.figures.bars import Bars
from bdray.report.figures.curve import Curve, Scale
from bdray.report.figures.labels import spread
from bdray.report.results import load
from tests.unit.report.conftest import STUDY, full_history

Write = Callable[..., Path]
Row = Callable[..., dict[str, Any]]


def test_scale_is_logarithmic_with_zero_apart() -> None:
    scale = Scale((0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 8.0))
    # doublings are even, zero stands one step off, and a value between two stands where it belongs
    assert scale.place(0) == 0
    assert scale.place(0.5) == 1
    assert scale.place(8) - scale.place(4) == pytest.approx(scale.place(2) - scale.place(1))
    assert scale.place(3) - scale.place(2) == pytest.approx(math.log2(1.5) * (scale.place(2) - scale.place(1)))
    assert scale.gap == 0.5


def test_narrow_scale_is_linear() -> None:
    scale = Scale((1.0, 2.0, 3.0, 5.0))
    # no logarithm and no gap where none is needed
    assert [scale.place(value) for value in scale.values] == [0, 1, 2, 4]
    assert scale.gap is None
    assert Scale((2.0,)).place(2.0) == 0


def test_a_thousand_values_name_some_in_even_distances() -> None:
    values = tuple(float(value) for value in range(1, 1001))
    ticks = Scale(tuple(value / 1000 + 5 for value in values)).ticks
    # Both ends, and between them what is as far apart.
    assert (len(ticks), ticks[0], ticks[-1]) == (11, 5.001, 6.0)
    assert all(b - a == pytest.approx(0.1, abs=0.002) for a, b in pairwise(ticks))
    # On a logarithmic axis even means even to the eye.
    places = [Scale(values).place(value) for value in Scale(values).ticks]
    assert max(b - a for a, b in pairwise(places)) < 1.3 * places[-1] / 10
    # Where there is room all are named.
    assert Scale(values[:20]).ticks == values[:20]


def test_labels_do_not_overlap() -> None:
    places = spread([0.02, 0.03, 0.5, 0.99], [0.1, 0.1, 0.1, 0.1])
    # touching labels move apart within the panel; the free one stays
    assert places == pytest.approx([0.05, 0.15, 0.5, 0.95])


def test_curve_for_a_number_and_bars_for_names(write: Write, models: list[dict[str, Any]]) -> None:
    numeric = load(write())
    field = "defense.in_modal_weight"
    names = [row | {field: {"": "", 0: "FT", 1: "CleanCLIP"}[row[field]]} for row in models if row[field] in ("", 0, 1)]
    axes = [{"field": field, "label": "defense", "values": ["FT", "CleanCLIP"]}]
    named = load(write({"axes": axes, "planned_trials": 6, "compare": [], "published": []}, names))
    # the axis decides the kind of figure: attack first, then its price
    assert [(type(panel), panel.metric.label) for panel in figures.result_panels(numeric)] == [
        (Curve, "ASR@1"),
        (Curve, "CA@1"),
    ]
    assert [type(panel) for panel in figures.result_panels(named)] == [Bars, Bars]
    assert figures.compose(figures.result_panels(named)).axes


def test_learning_curve_stops_where_a_seed_does(write: Write, models: list[dict[str, Any]]) -> None:
    columns = ("key", "role", "seed", "defense.in_modal_weight")
    history = [
        {name: row[name] for name in columns}
        | {"epoch": epoch, "attack_success_rate_top1": 0.5, "clean_accuracy_top1": ""}
        for row in models
        for epoch in range(1, 3 if row["key"] == "trial-1-2" else 5)
    ]
    asr, *others = figures.learning_panels(load(write(history=history)))
    lines = asr.lines()  # type: ignore[attr-defined]
    # seed 2 of λ₂ = 1 has two epochs, so its mean has two; a metric that was not recorded has no panel
    assert {name: len(line[0]) for name, line in lines.items()}["λ₂ = 1"] == 2
    assert len(lines["λ₂ = 2"][0]) == 4
    assert others == []


def test_lines_that_cannot_be_told_apart_are_left_out_and_counted(write: Write, model_row: Row) -> None:
    values = [round(0.1 * number, 1) for number in range(100)]
    rows = [model_row("trial", 0, value, 0.5, 0.5) for value in values]
    study = {"axes": [{**STUDY["axes"][0], "values": values}], "published": [], "compare": [], "planned_trials": 100}
    panel, *_ = figures.learning_panels(load(write(study, rows)))
    names = list(panel.lines())  # type: ignore[attr-defined]
    assert (len(names), names[:2]) == (20, ["λ₂ = 0 (FT)", "λ₂ = 0.5"])
    # The figure says so.
    (axes,) = figures.compose([panel]).axes
    assert axes.get_xlabel() == "epoch of the defense; 20 of 100 points"


def test_crowded_learning_curves_have_panels_by_the_first_axis(write: Write, models: list[dict[str, Any]]) -> None:
    levels = ["BadNet", "SIG"]
    axes = [{"field": "attack", "label": "attack", "values": levels}, STUDY["axes"][0]]
    rows = [{**row, "attack": level, "key": f"{level} {row['key']}"} for level in levels for row in models]
    study = {"axes": axes, "planned_trials": 36, "compare": [], "published": []}
    panels = figures.learning_panels(load(write(study, rows, full_history(rows, keep=("attack",)))))
    # twelve lines in one panel cannot be told apart; six can, and their labels do not repeat the attack
    assert [(panel.group, panel.metric.label) for panel in panels] == [
        (level, label) for level in levels for label in ("ASR@1", "CA@1")
    ]
    assert next(iter(panels[0].lines())) == "λ₂ = 0 (FT)"  # type: ignore[attr-defined]
    drawn = figures.compose(panels)
    boxes = [found.get_position() for found in drawn.axes]
    assert len({round(box.x0, 3) for box in boxes}) == len({round(box.y0, 3) for box in boxes}) == 2


def test_a_label_is_never_mathematics(write: Write) -> None:
    axes = [{"field": "defense.in_modal_weight", "label": r"$\frac{", "values": [0, 0.5, 1, 2, 4, 8]}]
    panels = figures.result_panels(load(write({"axes": axes})))
    # what matplotlib would refuse to parse is drawn as it is
    assert figures.to_svg(figures.compose(panels), "x").startswith("<svg")


def test_same_results_give_the_same_bytes(write: Write, tmp_path: Path) -> None:
    panels = figures.result_panels(load(write()))
    first, second = (figures.save(figures.compose(panels), tmp_path, name) for name in ("a", "b"))
    # no date and no random id, so that a rerun changes no file
    assert [path.suffix for path in first] == [".png", ".svg", ".pdf"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_metric_without_any_value(write: Write, model_row: Row) -> None:
    row = model_row("trial", 0, 1, 0.5, 0.5) | {"clean_accuracy_top1": "", "attack_success_rate_top1": ""}
    study = {"published": [], "seeds": [0], "planned_trials": 1, "compare": []}
    axes = [{"field": "defense.in_modal_weight", "label": "λ₂", "values": [1]}]
    panels = figures.result_panels(load(write(study | {"axes": axes}, [row], [])))
    # an empty panel, not a crash
    assert len(figures.compose(panels).axes) == 2


def test_every_picture_is_drawn_with_its_name() -> None:
    pixels = np.zeros((12, 24, 3), np.uint8)
    pictures = [Picture(name, "", None if name == "lost" else pixels) for name in ("A", "B", "lost", "C")]
    figure = figures.compose_pictures(pictures)
    written = [text.get_text() for text in figure.texts]
    # those that there are; rows are named at the left of each line
    assert len(figure.axes) == 3
    assert [text for text in written if len(text) == 1] == ["A", "B", "C"]
    assert written.count("difference ×10") == 2
    boxes = [axes.get_position() for axes in figure.axes]
    # nothing is drawn over anything, or outside
    assert all(0 < box.x0 < box.x1 < 1 and 0 < box.y0 < box.y1 < 1 for box in boxes)
    assert boxes[0].x1 < boxes[1].x0
    assert boxes[0].y0 > boxes[2].y1


def test_epochs_are_those_of_the_last_stage(overview: Callable[..., Path], write: Write) -> None:
    # of the attack, where there is no defense
    assert load(overview()).epoch_label == "epoch of the attack"
    assert load(write()).epoch_label == "epoch of the defense"
