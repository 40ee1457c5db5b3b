"""``python -m bdray.text "a red ball on the grass"``: the sub-captions that CleanerCLIP makes of captions."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import cast

from rich.console import Console
from rich.table import Table

from bdray import cli, config
from bdray.text.parsers.base import CaptionParser
from bdray.text.sub_captions import make_sub_captions

EXAMPLES = """examples:
  python -m bdray.text "a photo of a small dog chasing a red ball"
  python -m bdray.text --seed 1 < captions.txt
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parse(arguments)
    return cli.run(lambda console: _show(options, console))


def _show(options: argparse.Namespace, console: Console) -> int:
    member = CaptionParser.members()[options.parser]
    parser = cast(CaptionParser, config.build(member, {"type": options.parser}, "command line"))
    captions = options.captions or (line.rstrip("\n") for line in sys.stdin)
    console.print(_table(captions, parser, options.seed), highlight=False, markup=False)
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


def _table(captions: Iterable[str], parser: CaptionParser, seed: int) -> Table:
    table = Table("caption", "factual", "counterfactual", box=None, pad_edge=False)
    for made in make_sub_captions(captions, parser, seed):
        table.add_row(made.caption, made.factual, made.counterfactual)
    return table


if __name__ == "__main__":
    sys.exit(main())
