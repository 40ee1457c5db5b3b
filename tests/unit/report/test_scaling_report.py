"""The part of a report that a scaling study has."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bdray.report import build
from bdray.report.figures.sizes import Sizes, compact, size_panels
from bdray.report.results import load
from bdray.report.scaled_series import Series, scaled_series
from bdray.report.scaling_tables import chosen_rows, tried_rows
from bdray.report.scaling_text import describe_scaling, say_worth

ASR, FIELD = "attack_success_rate_top1", "attack.num_poisoned"
SIZES = (3, 10, 30, 100, 300)
TABLE5 = [
    {"paper": "CleanCLIP", "table": "Table5", "defense": "CleanCLIP", "sizes": "{} poisons"},
    {"paper": "CleanCLIP", "table": "Table5", "defense": "No defense", "sizes": "{} poisons"},
]
Row = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def victim_asr(size: float, seed: int = 0) -> float:
    return 1 / (1 + math.exp(-(math.log(size) - math.log(25 + 3 * seed)) / 0.4))


@pytest.fixture
def scaling(write: Write, model_row: Row) -> Write:
    """Writes a scaling study: victims that follow a logistic, defended models that do not move."""

    def make(seeds: Sequence[int] = (0, 1, 2), sizes: Sequence[Any] = SIZES, **study: Any) -> Path:
        rows = []
        for size in sizes:
            number = study.get("positions", {}).get(size, size)
            for seed in seeds:
                for role, asr in (("victim", victim_asr(number, seed)), ("trial", 0.1)):
                    row = {
                        name: v for name, v in model_row(role, seed, None, asr, 0.9).items() if "in_modal" not in name
                    }
                    rows.append({**row, "key": f"{role}-{size}-{seed}", FIELD: size})
        axis = {"field": FIELD, "label": "poisons", "values": list(sizes), "positions": study.pop("positions", {})}
        told = {
            "axes": [axis],
            "compare": [],
            "published": TABLE5,
            "scaling": {"extrapolate_to": [1000]},
            "seeds": list(seeds),
        }
        return write({**told, "planned_trials": len(sizes) * len(seeds), **study}, rows, [])

    return make


def series_by_title(folder: Path) -> Mapping[tuple[str, str], Series]:
    return {(one.title, one.metric.name): one for one in scaled_series(load(folder))}


def test_ours_and_theirs_are_fitted_by_the_same_code(scaling: Write) -> None:
    found = series_by_title(scaling())
    laws = {key: one.scaled.chosen.law.name if one.scaled.chosen else None for key, one in found.items()}
    assert laws["victim, no defense", ASR] in ("logistic between 0 and 1", "logistic")
    assert laws["defended", ASR] == "constant"
    # The paper's points stand over the paper's sizes, and have one seed.
    theirs = found["CleanCLIP Table 5: BadNet, CleanCLIP", ASR]
    assert theirs.scaled.levels.sizes == (75, 300, 1500)
    assert theirs.scaled.bootstrap is None
    assert theirs.group == "CleanCLIP Table 5, published"


def test_panels_do_not_share_sizes_of_different_kinds(scaling: Write) -> None:
    results = load(scaling())
    panels = size_panels(results, scaled_series(results))
    assert [(panel.metric.name, panel.group, len(panel.series)) for panel in panels] == [
        (ASR, "Measured", 2),
        (ASR, "CleanCLIP Table 5, published", 2),
        ("clean_accuracy_top1", "Measured", 2),
    ]
    assert all(panel.is_log for panel in panels)


def test_the_page_says_how_far_beyond_the_data(scaling: Write) -> None:
    report = build(scaling())
    page = report.page.read_text(encoding="utf-8")
    assert "<h2>Scaling</h2>" in page
    assert "Read off the law, not measured: at 1000 (×3.33 beyond the largest measured)" in page
    assert "1,000 resamples of 3 seeds, of which only 10 differ" in page
    assert "With 5 sizes that is a weak test" in page
    assert {"scaling.csv", "scaling.png", "scaling.svg", "scaling.pdf"} <= {path.name for path in report.files}


def test_the_table_has_the_numbers_of_the_page(scaling: Write) -> None:
    folder = scaling()
    build(folder)
    with (folder / "scaling.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["series"] == "victim, no defense" and row["metric"] == ASR]
    chosen = {row["parameter"]: row for row in rows if row["chosen"] == "True"}
    one = series_by_title(folder)["victim, no defense", ASR]
    assert one.scaled.fit is not None
    assert one.scaled.bootstrap is not None
    assert {name: float(row["value"]) for name, row in chosen.items()} == pytest.approx(
        one.scaled.fit.parameters, rel=1e-4
    )
    assert float(chosen["m"]["low"]) == pytest.approx(one.scaled.bootstrap.interval("m")[0], rel=1e-4)
    # Every law is there, with its reason if it could not compete.
    assert len({row["law"] for row in rows}) == 5
    assert len(tried_rows([one])["rows"]) == 5
    assert len(chosen_rows([one])["rows"]) == 1


def test_two_sizes_are_drawn_without_a_law(scaling: Write) -> None:
    folder = scaling(seeds=(0,), sizes=(3, 10), published=[])
    report = build(folder)
    series = scaled_series(load(folder))
    text = " ".join(describe_scaling(series))
    assert "no law is fitted: only 2 sizes have a result" in text
    assert say_worth(series) == ""
    # Nothing is read off where nothing was fitted.
    assert "Read off" not in text
    assert "single seed" in report.page.read_text(encoding="utf-8")


def test_a_single_seed_has_no_band(scaling: Write) -> None:
    series = scaled_series(load(scaling(seeds=(0,))))
    assert "A single seed has no interval." in say_worth(series)
    assert "[" not in " ".join(describe_scaling(series))


def test_names_stand_at_their_sizes(scaling: Write) -> None:
    positions = {"few": 3.0, "some": 30.0, "many": 300.0}
    folder = scaling(sizes=tuple(positions), positions=positions)
    build(folder)
    assert series_by_title(folder)["defended", ASR].scaled.levels.sizes == (3, 30, 300)


def test_other_studies_have_no_such_part(write: Write) -> None:
    folder = write()
    report = build(folder)
    assert scaled_series(load(folder)) == []
    assert "<h2>Scaling</h2>" not in report.page.read_text(encoding="utf-8")
    assert not (folder / "scaling.csv").exists()


def test_nothing_finished_is_nothing_to_fit(write: Write) -> None:
    axes = [{"field": FIELD, "label": "poisons", "values": list(SIZES)}]
    folder = write({"axes": axes, "compare": [], "published": [], "scaling": {}, "planned_trials": 15}, [], [])
    assert scaled_series(load(folder)) == []
    assert build(folder).page.exists()


def test_published_numbers_keep_a_scale_of_their_own(scaling: Write) -> None:
    table7 = [{"paper": "CleanCLIP", "table": "Table7", "attack": "Average", "sizes": "finetune data CC{}"}]
    results = load(scaling(published=table7))
    panels = size_panels(results, scaled_series(results))
    panel = next(one for one in panels if one.series[0].kind == "published" and one.metric.name != ASR)
    limits = _drawn_limits(panel)
    # The papers' clean accuracy is 18%: on our scale, from 0 to 100, nothing would be seen of it.
    assert limits[1] < 25


def _drawn_limits(panel: Sizes) -> tuple[float, float]:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    panel.draw(axes)
    low, high = axes.get_ylim()
    return float(low), float(high)


def test_sizes_are_short() -> None:
    assert [compact(size) for size in (3.0, 0.02, 5e3, 1e4, 1.5e6, 2e9)] == ["3", "0.02", "5000", "10K", "1.5M", "2B"]
