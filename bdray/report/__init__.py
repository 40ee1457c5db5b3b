"""Tables, figures and a self-contained page from the folder that a study writes.

Reads results only: it needs neither the cluster nor the tracker, and a half-finished study will do.
"""

from dataclasses import dataclass
from pathlib import Path

from bdray.exceptions import DataError
from bdray.report.tables import Summary

__all__ = ["Report", "build"]


@dataclass(frozen=True)
class Report:
    """What :func:`build` wrote."""

    title: str
    summary: Summary
    finding: str
    """Short paragraphs in plain language."""
    done: int
    planned: int
    """Trials."""
    files: tuple[Path, ...]
    """Everything written, the page first."""

    @property
    def page(self) -> Path:
        return self.files[0]


def build(folder: Path) -> Report:
    """Write a study's report into its results folder, over an earlier one.

    Writes ``report.html``, ``table`` (csv, tex), ``tidy`` (every number, see ``bdray.report.tidy``; csv, parquet) and,
    as far as there are results to compare, ``differences`` (csv, tex) or to draw, ``figure``, ``learning_curves``,
    ``densities`` (of the similarities of pairs), ``embeddings`` (maps of features) and ``examples`` (of the triggers)
    as png, svg and pdf. A scaling study also has ``scaling`` (the laws it fits; csv, png, svg, pdf), and a search
    ``hypervolume``, ``importances`` and ``slices``.

    Raises:
        ConfigError: If there is no study in the folder, or its description is malformed.
        DataError: If a file of results is damaged, or the report cannot be written.
    """
    from bdray.report import figures, html
    from bdray.report.exports import write_tables
    from bdray.report.finding import describe
    from bdray.report.results import load
    from bdray.report.scaling_section import write_scaling
    from bdray.report.tables import summarize

    results = load(folder)
    summary = summarize(results)
    result, learning = figures.result_panels(results), figures.learning_panels(results)
    densities = figures.density_panels(results)
    page = folder / "report.html"
    written = [page]
    try:
        written += write_tables(results, summary, folder)
        for panels, name in ((result, "figure"), (learning, "learning_curves")):
            if panels:
                written += figures.save(figures.compose(panels), folder, name)
        if any(picture.pixels is not None for picture in results.pictures):
            written += figures.save(figures.compose_pictures(results.pictures), folder, "examples")
        if densities:
            written += figures.save(figures.compose_densities(densities), folder, "densities")
        if any(item.points is not None for item in results.maps):
            written += figures.save(figures.compose_maps(results.maps), folder, "embeddings")
        for sheet in figures.search_sheets(results.searched):
            written += figures.save(figures.compose_sheet(sheet.drawings, sheet.columns), folder, sheet.name)
        scaling = write_scaling(results, folder)
        written += scaling.files if scaling else []
        page.write_text(html.render(results, summary, result, learning, densities, scaling), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder}: the report cannot be written there. {error}") from error
    return Report(
        title=results.study.title,
        summary=summary,
        finding="\n".join(describe(results)),
        done=len(results.trials),
        planned=results.study.planned_trials,
        files=tuple(written),
    )
