"""Grids of two numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from bdray.report import figures, html
from bdray.report.figures.heat_map import HeatMap
from bdray.report.finding import describe
from bdray.report.results import Results, load
from bdray.report.tables import summarize

Write = Callable[..., Path]
Row = Callable[..., dict[str, Any]]
X, Y = "defense.tau_positive", "defense.tau_negative"
AXES = [{"field": X, "label": "τ+", "values": [0.5, 0.1]}, {"field": Y, "label": "τ-", "values": [0.1, 0.3, 1]}]
ASR = {(0.1, 0.1): 0.2, (0.1, 0.3): 0.6, (0.5, 0.1): 0.1, (0.5, 0.3): 0.5, (0.1, 1): 0.9}
CA = {(0.1, 0.1): 0.8, (0.1, 0.3): 0.9, (0.5, 0.1): 0.7, (0.5, 0.3): 0.8, (0.1, 1): 0.85}


@pytest.fixture
def grid(write: Write, model_row: Row) -> Callable[..., Results]:
    """Five of six cells of a grid, with two seeds each."""

    def make(seeds: tuple[int, ...] = (0, 1), **study: Any) -> Results:
        rows = [
            model_row("trial", seed, f"{x}-{y}", asr + 0.02 * seed, CA[x, y]) | {X: x, Y: y}
            for (x, y), asr in ASR.items()
            for seed in seeds
        ]
        rows = [{name: value for name, value in row.items() if name != "defense.in_modal_weight"} for row in rows]
        tree = {"axes": AXES, "seeds": list(seeds), "published": [], "compare": [], "planned_trials": 6 * len(seeds)}
        return load(write(tree | study, rows, []))

    return make


def draw(results: Results) -> tuple[Axes, Axes]:
    asr, ca = figures.compose(figures.result_panels(results)).axes
    return asr, ca


def test_a_grid_of_two_numbers_is_a_map(grid: Callable[..., Results]) -> None:
    panels = figures.result_panels(grid())
    # one for each of the first metrics
    assert [(type(panel), panel.metric.label) for panel in panels] == [(HeatMap, "ASR@1"), (HeatMap, "CA@1")]


def test_cells_have_their_means_and_intervals(grid: Callable[..., Results]) -> None:
    axes, _ = draw(grid())
    at = {text.get_position(): text.get_text() for text in axes.texts}
    # numbers are in their order, not the plan's; 12.7 is Student's factor of two seeds, times 1.0 over two of 2 points
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.1", "0.5"]
    assert at[0, 0] == "21.0\n± 12.7"
    assert at[1, 1] == "51.0\n± 12.7"
    assert at[0, 2] == "91.0\n± 12.7"
    assert (1, 2) not in at


def test_a_single_seed_has_no_interval(grid: Callable[..., Results]) -> None:
    axes, _ = draw(grid(seeds=(0,)))
    assert "20.0" in [text.get_text() for text in axes.texts]


def test_what_is_missing_is_hatched(grid: Callable[..., Results]) -> None:
    axes, _ = draw(grid())
    hatched = [patch for patch in axes.patches if patch.get_hatch()]
    assert [patch.get_xy() for patch in hatched if isinstance(patch, Rectangle)] == [(0.5, 1.5)]


def test_the_best_is_outlined(grid: Callable[..., Results]) -> None:
    asr, ca = figures.result_panels(grid())
    assert isinstance(asr, HeatMap)
    assert isinstance(ca, HeatMap)
    assert (asr.best(), ca.best()) == ([(0.5, 0.1)], [(0.1, 0.3)])


def test_the_best_reaches_the_goals_of_other_metrics(grid: Callable[..., Results]) -> None:
    goals = {"clean_accuracy_top1": 0.75, "attack_success_rate_top1": 0.55}
    asr, ca = figures.result_panels(grid(goals=goals))
    assert isinstance(asr, HeatMap)
    assert isinstance(ca, HeatMap)
    # the lowest ASR has a CA of 70%, the highest CA an ASR of 61%; of the others two agree on CA
    assert asr.best() == [(0.1, 0.1)]
    assert sorted(ca.best()) == [(0.1, 0.1), (0.5, 0.3)]


def test_nothing_is_best_where_all_agree_or_none_reaches(grid: Callable[..., Results]) -> None:
    asr, _ = figures.result_panels(grid(goals={"clean_accuracy_top1": 0.99}))
    assert isinstance(asr, HeatMap)
    assert asr.best() == []


def test_small_differences_have_similar_colors(grid: Callable[..., Results]) -> None:
    _, panel = figures.result_panels(grid())
    assert isinstance(panel, HeatMap)
    cells = {cell: found for cell, found in panel.cells().items() if found.mean == pytest.approx(0.8)}
    low, high = panel.limits(cells)
    # two cells that agree do not stand at the ends of the colors
    assert high - low == pytest.approx(0.01)


def test_the_map_is_drawn_without_pictures(grid: Callable[..., Results]) -> None:
    svg = figures.to_svg(figures.compose(figures.result_panels(grid())), "x")
    # a page may not load any
    assert "<image" not in svg
    assert "url(#x-" in svg


def test_the_page_explains_the_map(grid: Callable[..., Results]) -> None:
    results = grid()
    text = html.render(results, summarize(results), figures.result_panels(results), [])
    assert "Outlined: the best; hatched: no result yet." in text
    assert "Bar: mean" not in text


def test_the_finding_names_the_ends(grid: Callable[..., Results]) -> None:
    text = " ".join(describe(grid()))
    assert "ASR@1 is highest for τ+ = 0.1, τ- = 1 (91.0 ± 12.7%) and lowest for τ+ = 0.5, τ- = 0.1" in text
    # a number is not a choice for another number
    assert "Averaged over" not in text


def test_a_search_of_two_numbers_has_a_front_instead(grid: Callable[..., Results]) -> None:
    assert figures.result_panels(grid(search={"type": "random", "num_points": 5})) == []
