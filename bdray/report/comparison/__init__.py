"""Several studies side by side: what they share, what may be subtracted, and one page about it."""

from dataclasses import dataclass
from pathlib import Path

from bdray.exceptions import DataError

__all__ = ["Compared", "build"]


@dataclass(frozen=True)
class Compared:
    """What :func:`build` wrote."""

    title: str
    finding: str
    """Sentences, one a line."""
    files: tuple[Path, ...]
    """Everything written, the page first."""


def build(studies: list[Path], folder: Path) -> Compared:
    """Compare the studies in some folders with the first of them.

    Writes ``comparison`` as html, csv, tex, png, svg and pdf, and all numbers of all studies as ``tidy.csv`` and
    ``tidy.parquet``.

    Raises:
        ConfigError: If there is no study in one of the folders, or they have no metric in common.
        DataError: If a file of results is damaged, or the comparison cannot be written.
    """
    import pandas as pd

    from bdray.report import figures
    from bdray.report.comparison.comparison import compare
    from bdray.report.comparison.figure import panels_of
    from bdray.report.comparison.page import describe, render
    from bdray.report.comparison.tables import to_frame, to_latex

    comparison = compare(studies)
    panels = panels_of(comparison)
    tidy = pd.concat([side.results.tidy() for side in comparison.sides], ignore_index=True)
    page, table, latex = (folder / f"comparison.{kind}" for kind in ("html", "csv", "tex"))
    long, parquet = folder / "tidy.csv", folder / "tidy.parquet"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        table.write_text(to_frame(comparison).to_csv(index=False, float_format="%.6g"), encoding="utf-8")
        latex.write_text(to_latex(comparison), encoding="utf-8")
        long.write_text(tidy.to_csv(index=False), encoding="utf-8")
        tidy.to_parquet(parquet, index=False)
        drawn = figures.save(figures.compose(panels), folder, "comparison") if panels else []
        page.write_text(render(comparison, panels, folder), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder}: the comparison cannot be written there. {error}") from error
    return Compared(comparison.title, "\n".join(describe(comparison)), (page, table, latex, *drawn, long, parquet))
