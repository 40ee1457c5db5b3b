"""``python -m bdray.report NAME…``: build reports anew from what studies left on disk, and compare several studies."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bdray import cli
from bdray.config import did_you_mean
from bdray.exceptions import ConfigError
from bdray.report import build

EXAMPLES = """examples:
  python -m bdray.report ablations/lambda2
  python -m bdray.report cleanerclip/main ubt/main
  python -m bdray.report ablations/lambda2 --output .bdray --output /shared/bdray
  python -m bdray.report path/to/a/results/folder another/folder --to comparisons/mine
"""


def main(words: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    arguments = _parse(words)
    return cli.run(lambda console: _do(arguments, console))


def _do(arguments: argparse.Namespace, console: Console) -> int:
    outputs = arguments.output or [Path(".bdray")]
    folders = _distinct([folder for word in arguments.studies for folder in _find(word, outputs)])
    if arguments.to is not None and len(folders) < 2:
        raise ConfigError(f"--to {arguments.to}: is where a comparison goes, which needs two studies. Name another.")
    for folder in folders:
        _show(folder, console)
    if len(folders) > 1:
        _compare(folders, arguments.to or _place(arguments.studies, outputs[0]), console)
    return cli.GOOD


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bdray.report",
        description="Rebuild the reports of studies; with several studies, also compare them with the first.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("studies", nargs="+", metavar="NAME", help="a study such as ablations/lambda2, or its folder")
    parser.add_argument(
        "--output",
        type=Path,
        action="append",
        metavar="DIR",
        help="holds studies/NAME; given several times, a name stands for the studies in all of them (default: .bdray)",
    )
    parser.add_argument(
        "-o",
        "--to",
        type=Path,
        metavar="DIR",
        help="where the comparison of several studies goes (default: comparisons/NAMES in the first output folder)",
    )
    return parser.parse_args(words)


def _find(word: str, outputs: Sequence[Path]) -> list[Path]:
    """Folders of results: one by its path, or all that have the study's name."""
    if (Path(word) / "study.json").is_file():
        return [Path(word)]
    places = [output / "studies" for output in outputs]
    if found := [place / word for place in places if (place / word / "study.json").is_file()]:
        return found
    known = [path.parent.relative_to(place).as_posix() for place in places for path in place.rglob("study.json")]
    where = " and ".join(map(str, places))
    raise ConfigError(f"{word}: neither a folder of results nor a study in {where}. {did_you_mean(word, set(known))}")


def _distinct(folders: Sequence[Path]) -> list[Path]:
    seen: dict[str, Path] = {}
    for folder in folders:
        path = os.path.realpath(folder)
        if path in seen:
            raise ConfigError(f"{folder}: is named twice. Name every study once.")
        seen[path] = folder
    return list(seen.values())


def _place(names: Sequence[str], output: Path) -> Path:
    """``comparisons/cleanerclip-main+ubt-main``."""
    words = [re.sub(r"\W+", "-", name, flags=re.ASCII).strip("-") or "study" for name in names]
    return output / "comparisons" / "+".join(words)[:120]


def _show(folder: Path, console: Console) -> None:
    report = build(folder)
    console.print(report.summary.fit(console.width).to_rich())
    console.print(report.finding, markup=False, highlight=False)
    for path in report.files:
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)


def _compare(folders: list[Path], to: Path, console: Console) -> None:
    from bdray.report import comparison

    compared = comparison.build(folders, to)
    console.print(f"\n{compared.title}", style="bold", markup=False, highlight=False)
    console.print(compared.finding, markup=False, highlight=False)
    for path in compared.files:
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
