"""``python -m bdray.report FOLDER_OR_NAME…``: build reports anew from what studies left on disk."""

import argparse
import sys
from pathlib import Path

from bdray.config import did_you_mean
from bdray.exceptions import BdrayError, ConfigError
from bdray.report import build


def main(words: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m bdray.report", description="Rebuild the reports of studies.")
    parser.add_argument("studies", nargs="+", metavar="FOLDER_OR_NAME", help="a results folder, or ablations/lambda2")
    parser.add_argument("--output", type=Path, default=Path(".bdray"), help="holds studies/NAME (default: %(default)s)")
    arguments = parser.parse_args(words)
    try:
        for study in arguments.studies:
            _show(_find(study, arguments.output / "studies"))
    except BdrayError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _find(word: str, studies: Path) -> Path:
    """A folder of results, by its path or by the study's name."""
    for folder in (Path(word), studies / word):
        if (folder / "study.json").is_file():
            return folder
    known = [path.parent.relative_to(studies).as_posix() for path in studies.rglob("study.json")]
    raise ConfigError(f"{word}: neither a folder of results nor a study in {studies}. {did_you_mean(word, known)}")


def _show(folder: Path) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    report = build(folder)
    console.print(report.summary.fit(console.width).to_rich())
    console.print(report.finding, markup=False)
    for path in report.files:
        console.print(str(path), markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
