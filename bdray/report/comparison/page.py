"""The self-contained page of a comparison."""

import math
import os
import re
from pathlib import Path
from typing import Any

from bdray.report.comparison.comparison import Comparison
from bdray.report.comparison.sides import Side
from bdray.report.comparison.tables import (
    DIFFERENCE_HEADER,
    DIFFERENCE_KEYS,
    caption,
    difference_lines,
    keys_of,
    value_header,
    value_lines,
)
from bdray.report.differences import LEVEL
from bdray.report.figures import MAX_PANELS, Panel, compose, to_svg
from bdray.report.page import dark_colors, template, themed
from bdray.report.study import DASH, Metric


def render(comparison: Comparison, panels: list[Panel], folder: Path) -> str:
    """The page as one string, for a folder that its links start from; all that comes from studies is escaped."""
    return template("comparison.html.j2").render(
        title=comparison.title,
        finding=[
            _paragraph(comparison, index) for index, side in enumerate(comparison.sides) if index and not side.refusal
        ],
        studies=[_study(side, folder) for side in comparison.sides],
        panels=[
            (panel.metric.label, themed(to_svg(compose([panel]), f"comparison{index}")))
            for index, panel in enumerate(panels)
        ],
        value_header=value_header(comparison),
        difference_header=DIFFERENCE_HEADER,
        num_keys=len(keys_of(comparison)),
        num_difference_keys=len(DIFFERENCE_KEYS),
        tables=[_table(comparison, metric) for metric in comparison.metrics],
        settings=_different_settings(comparison),
        dark=dark_colors(),
    )


def describe(comparison: Comparison) -> list[str]:
    """A paragraph a study: what it shares with the first, or why it is not subtracted, and how much of it differs."""
    return [_paragraph(comparison, index) for index in range(1, len(comparison.sides))]


def _paragraph(comparison: Comparison, index: int) -> str:
    first, side = comparison.sides[0], comparison.sides[index]
    if side.refusal:
        return f"{side.name} is not subtracted from {first.name}: {side.refusal}."
    found = comparison.differences[comparison.metrics[0].name]
    shared = [item for item in found if item.side == index and item.place.identity == item.first.identity]
    same = sum(item.kind == "same models" for item in shared)
    text = f"{side.name} has {len(shared)} of its {len(side.places)} kinds of models in common with {first.name}"
    text += f", {same} of them the very same models." if same else "."
    sentences = [_counted(comparison, metric, index) for metric in comparison.metrics[:MAX_PANELS]]
    return " ".join(filter(None, [text, *sentences]))


def _counted(comparison: Comparison, metric: Metric, index: int) -> str:
    """How many of one study's differences are beyond seed noise; nothing where none has an interval."""
    judged = [
        found
        for found in comparison.differences[metric.name]
        if found.side == index and found.kind != "same models" and not math.isnan(found.contrast.difference.half_width)
    ]
    if not judged:
        return ""
    beyond = sum(found.contrast.difference.excludes_zero for found in judged)
    paired = sum(found.kind == "paired" for found in judged)
    text = (
        f"{metric.label} differs beyond seed noise in {beyond} of {len(judged)} comparisons ({paired} paired by victim)"
    )
    if comparison.num_tests(metric) > 1:
        kept = sum(found.p_holm < LEVEL for found in judged)
        text += f", and in {kept} at p < {LEVEL} after Holm's adjustment for {comparison.num_tests(metric)}"
    return f"{text}."


def _study(side: Side, folder: Path) -> dict[str, Any]:
    results, study = side.results, side.results.study
    commits = study.provenance.get("commit") or DASH
    commits = commits if isinstance(commits, list) else [commits]
    return {
        "name": side.name,
        "title": study.title,
        "link": Path(os.path.relpath(results.folder / "report.html", folder)).as_posix(),
        "base": study.base or DASH,
        "split": study.split,
        "seeds": ", ".join(map(str, study.seeds)),
        "done": len(results.trials),
        "planned": study.planned_trials,
        "failed": len(study.failures),
        "id": study.id,
        "commit": ", ".join(re.sub(r"^(\w{8})\w+", r"\1", str(commit)) for commit in commits),
        "refusal": side.refusal,
    }


def _table(comparison: Comparison, metric: Metric) -> dict[str, Any]:
    return {
        "heading": f"{metric.heading} {metric.arrow}",
        "values": value_lines(comparison, metric),
        "differences": difference_lines(comparison, metric),
        "caption": caption(comparison, metric),
    }


def _different_settings(comparison: Comparison) -> list[list[str]]:
    """Settings of the base experiments that are not the same in all studies, by dotted path."""
    found = [side.settings for side in comparison.sides]
    paths = dict.fromkeys(path for settings in found for path in settings)
    rows = [[path, *(str(settings.get(path, DASH)) for settings in found)] for path in paths]
    return [row for row in rows if len(set(row[1:])) > 1]
