"""The self-contained report page."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bdray import config
from bdray.report.captions import KINDS, NOTES
from bdray.report.clean_base import CLEAN_ASR, clean_rates
from bdray.report.differences import differences
from bdray.report.examples import ROWS
from bdray.report.figures import Densities, Panel, compose, compose_densities, compose_maps, to_svg
from bdray.report.figures.heat_map import is_heat_map
from bdray.report.finding import describe
from bdray.report.goals import list_words
from bdray.report.page import dark_colors, template, themed
from bdray.report.picks import Pick
from bdray.report.published import parts_of
from bdray.report.results import NO_DEFENSE, NUMBER, Results
from bdray.report.scaling_section import ScalingSection
from bdray.report.searches.listing import missing
from bdray.report.searches.section import search_section
from bdray.report.statistics import estimate
from bdray.report.study import DASH, DETECTION, Metric, Point, Study, show_level
from bdray.report.tables import TRIAL_LABEL, VICTIM_LABEL, Summary

EXTRA_COLUMNS = (
    Metric(name="attack_success_rate_include_target_top1", label="ASR@1 incl. target", goal="min"),
    Metric(name="chance_attack_success_rate_top1", label="chance ASR@1", goal="min"),
    CLEAN_ASR,
    Metric(name="embedding_distance", label="embedding distance", goal="min"),
)
"""Shown for every model beside the study's own metrics, where they were measured and are not among these."""

PICTURE_WIDTH = 400
"""How wide small pictures may be made, in CSS pixels."""


def render(
    results: Results,
    summary: Summary,
    result: list[Panel],
    learning: list[Panel],
    densities: Sequence[Densities] = (),
    scaling: ScalingSection | None = None,
) -> str:
    """The page as one string. Everything that comes from the study is escaped by the template."""
    study = results.study
    return template("template.html.j2").render(
        study=study,
        finding=[_unbroken(paragraph) for paragraph in describe(results)],
        done=len(results.trials),
        stopped=len(results.pruned),
        missing=_missing(results),
        result=_inline(result, "result"),
        learning=_inline(learning, "learning"),
        densities=_inline_densities(densities),
        scaling=scaling,
        search=search_section(results),
        judged=results.judged,
        maps=results.maps,
        drawn_maps=_inline_maps(results),
        num_hidden_densities=sum(item.pairs is not None for item in results.judged) - len(densities),
        has_curve=results.axis is not None,
        has_heat_map=is_heat_map(results),
        has_victims=len(results.victims) > 0,
        split=study.split,
        epoch_label=results.epoch_label,
        pictures=results.pictures,
        picture_rows=ROWS,
        shown_width=_shown_width,
        shown={metric.name for metric in _shown(results)},
        has_detection=any(metric.name.startswith(DETECTION) for metric in _shown(results)),
        summary=summary,
        summary_html=summary.to_html(),
        models=_models(results),
        published=_published(results),
        num_images=_num_images(study),
        chance=_chance(results),
        clean_rates=[found.text for found in clean_rates(results)],
        differences=differences(results),
        interval_note=NOTES[study.interval],
        interval_kind=KINDS[study.interval],
        is_single_seed=results.trials["seed"].nunique() == 1,
        is_sampled=any(cell.sampled for row in summary.rows for cell in row.cells),
        provenance=_provenance(study.provenance),
        dark=dark_colors(),
    )


def _inline(panels: list[Panel], name: str) -> list[tuple[str, str]]:
    """Each panel as an svg of its own, so that a phone can stack them; its colors follow the page's."""
    return [
        (panel.metric.label, themed(to_svg(compose([panel]), f"{name}{index}"))) for index, panel in enumerate(panels)
    ]


def _inline_densities(panels: Sequence[Densities]) -> list[tuple[str, str]]:
    return [
        (panel.title, themed(to_svg(compose_densities([panel]), f"densities{index}")))
        for index, panel in enumerate(panels)
    ]


def _inline_maps(results: Results) -> list[tuple[str, str]]:
    found = [item for item in results.maps if item.points is not None]
    return [("Maps of features", themed(to_svg(compose_maps(found), "maps")))] if found else []


def _models(results: Results) -> dict[str, list[list[str]]]:
    """Header and rows of the table of every evaluated model, failed ones included, and the page of each one's run."""
    frame, study = results.models, results.study
    metrics = _shown(results)
    models = list(zip(results.points_of(frame), frame.to_dict("records"), strict=True))
    order = [*results.victim_points(), *(results.points() if study.search is None else _asked(models))]
    rows: list[list[str]] = []
    pages: list[str] = []
    for point, record in sorted(models, key=lambda model: _place(order, *model)):
        levels = [DASH if level is None else axis.show(level) for axis, level in zip(study.axes, point, strict=True)]
        kind = VICTIM_LABEL if record["role"] == "victim" else TRIAL_LABEL[record.get("defense_type") != NO_DEFENSE]
        seconds = record.get("train_seconds", math.nan)
        time = DASH if math.isnan(seconds) else f"{seconds:.0f}"
        shown = [metric.show(record[metric.name]) for metric in metrics]
        number = [] if study.search is None else [_number(record)]
        rows.append([*number, kind, *levels, str(record["seed"]), *shown, time, str(record["status"])])
        pages.append(study.mlflow.runs.get(str(record.get("key")), ""))
    labels = [metric.heading for metric in metrics]
    first = ["model"] if study.search is None else ["trial", "model"]
    return {
        "header": [[*first, *(axis.label for axis in study.axes), "seed", *labels, "training (s)", "status"]],
        "rows": rows,
        "pages": [pages],
    }


def _asked(models: list[tuple[Point, dict[Any, Any]]]) -> list[Point]:
    """Points in the order in which a search asked for them, as far as that is known."""
    numbered = [(record[NUMBER], point) for point, record in models if not math.isnan(record.get(NUMBER, math.nan))]
    return [point for _, point in sorted(numbered, key=lambda pair: pair[0])]


def _missing(results: Results) -> list[str]:
    search, found = results.study.search, results.searched
    if search is None or found is None:
        return results.missing()
    return missing(found, results.study.seeds, search.num_points)


def _number(record: Mapping[Any, Any]) -> str:
    number = record.get(NUMBER, math.nan)
    return DASH if math.isnan(number) else f"{number:.0f}"


def _shown(results: Results) -> list[Metric]:
    """The study's own metrics, the extra ones, and what defenses measured of themselves, as far as there are any."""
    own = {metric.name for metric in results.study.metrics}
    measured = [column for column in results.models.columns if column not in own]
    detection = [
        Metric(name=name, label=name.replace("_", " ").replace("auroc", "AUROC"), goal="max")
        for name in measured
        if name.startswith(DETECTION)
    ]
    return [*results.study.metrics, *(metric for metric in EXTRA_COLUMNS if metric.name in measured), *detection]


def _place(order: list[Point], point: Point, record: Mapping[Any, Any]) -> tuple[bool, int, int]:
    """Victims first, then the plan's order, then seeds; a failed point that no plan knows stands last."""
    index = order.index(point) if point in order else len(order)
    return record["role"] != "victim", index, record["seed"]


def _published(results: Results) -> list[tuple[str, str]]:
    """Where the published numbers come from: of each pick a title, and what all of its settings have in common."""
    metrics = {metric.name for metric in results.study.metrics}
    notes = []
    for pick in results.study.published:
        points = [point for point in results.published if point.pick == pick and point.metric in metrics]
        if points:
            names = [{point.attack for point in points}, {point.defense for point in points}]
            title = ", ".join([pick.source, *(name for found in names if len(found) == 1 for name in found)])
            settings = [parts_of(point.setting) for point in points]
            common = [part for part in settings[0] if all(part in setting for setting in settings)]
            notes.append((title, "; ".join([*common, *_stand_ins(results, pick)])))
    return list(dict.fromkeys(notes))


def _stand_ins(results: Results, pick: Pick) -> list[str]:
    """Which of the study's values stand for which of the paper's, axis by axis, where their names differ."""
    lines = []
    for axis in results.study.axes:
        match = (pick.match or {}).get(axis.field)
        names = {level: match.name(show_level(level)) for level in axis.levels} if match else {}
        pairs = [
            f"{show_level(level)} for {name}" for level, name in names.items() if name not in (None, show_level(level))
        ]
        if pairs:
            lines.append(f"{axis.label} {list_words(pairs)}")
    return lines


def _unbroken(text: str) -> str:
    """Keep ``λ₂ = 0`` and ``95.0 ± 3.0`` on one line."""
    return re.sub(r" ([=±]) ", "\u00a0\\1\u00a0", text)


def _shown_width(width: int) -> int:
    """Width in the page, in CSS pixels: small pictures are enlarged by a whole number, so that pixels stay squares."""
    return width * max(1, PICTURE_WIDTH // max(width, 1))


def _num_images(study: Study) -> int | None:
    """Size of the split that models were judged on, where the data set states it."""
    field = f"num_{study.split}"
    found = [value for path, value in config.flatten(study.settings).items() if path.rpartition(".")[2] == field]
    return int(found[0]) if found and isinstance(found[0], int) else None


def _chance(results: Results) -> str | None:
    column = "chance_attack_success_rate_top1"
    if column not in results.models.columns:
        return None
    level = estimate(list(results.undefended[column]))
    return Metric(name=column, label="", goal="min").show(level.mean) if level.n else None


def _provenance(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (path.removeprefix("versions.").replace("_seconds", "_time").replace("_", " "), _plain(path, value))
        for path, value in config.flatten(provenance).items()
    ]


def _plain(path: str, value: Any) -> str:
    if value is None:
        return DASH
    if path.endswith("seconds") and isinstance(value, int | float):
        return f"{value / 60:.1f} min" if value >= 120 else f"{value:.1f} s"
    if path in ("started", "finished"):
        try:
            return f"{datetime.fromisoformat(str(value)):%Y-%m-%d %H:%M:%S %Z}".strip()
        except ValueError:
            return str(value)
    return str(value)
