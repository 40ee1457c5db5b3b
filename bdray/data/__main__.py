"""``python -m bdray.data check SOURCE``: look at data before anyone trains on them."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from bdray import cli, config
from bdray.data.description import describe, has_failed
from bdray.data.grid import draw_grid
from bdray.data.inspection import Inspection, inspect
from bdray.data.named import Named, data_of, from_data, from_place
from bdray.exceptions import ConfigError

EXAMPLES = """SOURCE is a table (.csv, .tsv), shards (.tar, with * or {00000..00331}), a file of COCO captions (.json),
a folder of shards or of class folders; or a base whose data are files, such as paper/cc3m_rn50, looked at as it would
draw them.

examples:
  python -m bdray.data check CC3M/train.csv
  python -m bdray.data check open_clip.tsv image_column=filepath caption_column=title
  python -m bdray.data check 's3://bucket/cc3m/{00000..00331}.tar' --samples 5000
  python -m bdray.data check coco/captions_train2017.json images=coco/train2017
  python -m bdray.data check ImageNet1K/train
  python -m bdray.data check paper/cc3m_rn50

Paths are relative to the folder or URL in BDRAY_DATA. The exit status is 0 if the data are good, 1 if more samples are
bad than max_bad_share allows, if a shard is damaged or if there are too few, and 2 if they cannot be read.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parse(arguments)
    return cli.run(lambda console: _check_all(options, console))


def _check_all(options: argparse.Namespace, console: Console) -> int:
    with tempfile.TemporaryDirectory() as cache:
        named = _named(options.source, options.fields, Path(cache))
        return max(_check(one, options, console, several=len(named) > 1) for one in named)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bdray.data",
        description="Count, measure and show samples, good and bad. Nothing is trained or changed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", choices=["check"], help="what to do")
    parser.add_argument("source", metavar="SOURCE", help="files, a folder, or a base")
    parser.add_argument("fields", nargs="*", metavar="FIELD=VALUE", help="fields of the source, or of the experiment")
    parser.add_argument(
        "--samples", type=_samples, default=2000, metavar="N", help="how many to look at, or all (default: 2000)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("data-check"), metavar="DIR", help="for pictures (default: data-check)"
    )
    return parser.parse_intermixed_args(arguments)


def _samples(word: str) -> int | None:
    if word == "all":
        return None
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is neither a positive number nor all")
    return int(word)


def _named(source: str, words: Sequence[str], cache: Path) -> list[Named]:
    """Find out what a word means."""
    from bdray.study.files import names, studies_folder
    from bdray.study.spec import base_tree

    overrides = config.read_overrides(words)
    try:
        folder = studies_folder()
    except ConfigError:  # not in a checkout: then there are files only
        return from_place(source, overrides, cache)
    if (folder / "base" / f"{source}.yaml").is_file():
        tree = base_tree(folder, source, "command line")
    elif source in names(folder):
        study = config.read_yaml(names(folder)[source])
        tree = base_tree(folder, str(study.get("base")), str(names(folder)[source]))
        tree = config.merge(tree, study.get("experiment", {}))
    else:
        return from_place(source, overrides, cache)
    return from_data(data_of(config.merge(tree, overrides), source), cache)


def _check(named: Named, options: argparse.Namespace, console: Console, *, several: bool) -> int:
    records, lanes = named.draw.records, named.draw.lanes
    # Of a study those that it would draw first, of each class the same share.
    wanted = options.samples if options.samples is not None else len(records)
    number = -(-wanted // len(lanes))
    drawn = [lane.order[: number if named.is_whole else min(number, lane.count)] for lane in lanes]
    positions = [int(lane[at]) for at in range(max(map(len, drawn))) for lane in drawn if at < len(lane)][:wanted]
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(named.name, total=len(positions))
        found = inspect(
            records, positions, named.picture, progress=lambda done, total: bar.update(task, completed=done)
        )
    console.print(describe(named, found))
    _draw(found, options.output / (named.name.replace("data.", "").replace(", ", "-") if several else ""), console)
    return cli.FOUND if has_failed(named, found) else cli.GOOD


def _draw(found: Inspection, folder: Path, console: Console) -> None:
    """Write pictures."""
    sheets = {"samples.png": found.shown, "beside_bad_ones.png": found.neighbors}
    for name, shown in sheets.items():
        if shown:
            folder.mkdir(parents=True, exist_ok=True)
            draw_grid(shown).save(folder / name)
            console.print(f"  {folder / name}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
