"""``python -m bdray.text "a red ball on the grass"``: the sub-captions that CleanerCLIP makes of captions."""

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from typing import IO, cast

from rich.console import Console
from rich.table import Column, Table

from bdray import cli, config
from bdray.text.parsers.base import CaptionParser
from bdray.text.sub_captions import SubCaptions, make_sub_captions

COLUMNS = ("caption", "factual", "counterfactual")
EXAMPLES = """examples:
  python -m bdray.text "a photo of a small dog chasing a red ball"
  python -m bdray.text --seed 1 < captions.txt
  python -m bdray.text < captions.txt > sub_captions.tsv     a table with tabs, where the output is no terminal
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parse(arguments)
    return cli.run(lambda console: _show(options, console))


def _show(options: argparse.Namespace, console: Console) -> int:
    member = CaptionParser.members()[options.parser]
    parser = cast(CaptionParser, config.build(member, {"type": options.parser}, "command line"))
    captions = options.captions or (line.rstrip("\n") for line in sys.stdin)
    made = make_sub_captions(captions, parser, options.seed)
    if console.is_terminal:
        console.print(_table(made), highlight=False, markup=False)
    else:
        _write(made, console.file)
    return cli.GOOD


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bdray.text",
        description="Print factual and counterfactual sub-captions (CleanerCLIP, section 3.2).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("captions", nargs="*", metavar="CAPTION", help="without any, one a line from standard input")
    parser.add_argument("--parser", choices=sorted(CaptionParser.members()), default="lexicon", help="finds phrases")
    parser.add_argument("--seed", type=int, default=0, help="of the counterfactual ones (default: 0)")
    return parser.parse_args(arguments)


def _table(rows: Iterable[SubCaptions]) -> Table:
    table = Table(*(Column(name, overflow="fold") for name in COLUMNS), box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.caption, row.factual, row.counterfactual)
    return table


def _write(rows: Iterable[SubCaptions], file: IO[str]) -> None:
    """Each row as soon as it is made, on a line of its own: for files and other programs."""
    writer = csv.writer(file, delimiter="\t", lineterminator="\n")
    for index, row in enumerate(rows):
        if index == 0:  # no sooner, for the parser may lack its library
            writer.writerow(COLUMNS)
        writer.writerow((row.caption, row.factual, row.counterfactual))


if __name__ == "__main__":
    sys.exit(main())
