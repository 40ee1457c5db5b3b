"""What a scaling study adds to a report: a section of the page, a figure and a table of fits."""

from dataclasses import dataclass
from pathlib import Path

from bdray.report.figures import compose, save, to_svg
from bdray.report.figures.sizes import size_panels
from bdray.report.page import themed
from bdray.report.results import Results
from bdray.report.scaled_series import scaled_series
from bdray.report.scaling_tables import Table, chosen_rows, fits_frame, tried_rows
from bdray.report.scaling_text import describe_scaling, say_worth


@dataclass(frozen=True)
class ScalingSection:
    """Text, figures and tables for the template, and what was written beside the page."""

    findings: list[str]
    worth: str
    figures: list[tuple[str, str]]
    """Label and svg."""
    chosen: Table
    tried: Table
    has_published: bool
    files: list[Path]


def write_scaling(results: Results, folder: Path) -> ScalingSection | None:
    """Fit the laws of a scaling study, write ``scaling`` (csv, png, svg, pdf), and say what the page shows of them.

    Returns:
        None if it is no scaling study, or nothing has finished.
    """
    series = scaled_series(results)
    if not series:
        return None
    panels, table = size_panels(results, series), folder / "scaling.csv"
    table.write_text(fits_frame(series).to_csv(index=False, float_format="%.6g"), encoding="utf-8")
    return ScalingSection(
        findings=describe_scaling(series),
        worth=say_worth(series),
        figures=[
            (f"{panel.group}: {panel.metric.label}", themed(to_svg(compose([panel]), f"scaling{index}")))
            for index, panel in enumerate(panels)
        ],
        chosen=chosen_rows(series),
        tried=tried_rows(series),
        has_published=any(one.kind == "published" for one in series),
        files=[table, *save(compose(panels), folder, "scaling")],
    )
