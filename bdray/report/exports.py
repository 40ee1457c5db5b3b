"""A report's tables as files: for a paper, for a spreadsheet, and all numbers for other tools."""

from pathlib import Path

from bdray.report.differences import differences, to_frame
from bdray.report.results import Results
from bdray.report.tables import Summary


def write_tables(results: Results, summary: Summary, folder: Path) -> list[Path]:
    """Write ``table`` and, where there are any, ``differences`` as csv and tex, and ``tidy`` as csv and parquet.

    Returns:
        The files.
    """
    compared, tidy = differences(results), results.tidy()
    texts = {
        "table.csv": summary.to_frame().to_csv(index=False, float_format="%.6g"),
        "table.tex": summary.to_latex(),
        "tidy.csv": tidy.to_csv(index=False),
    }
    if compared:
        texts["differences.csv"] = to_frame(compared, results).to_csv(index=False, float_format="%.6g")
        texts["differences.tex"] = "\n".join(table.to_latex() for table in compared)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    tidy.to_parquet(folder / "tidy.parquet", index=False)
    return [folder / name for name in (*texts, "tidy.parquet")]
