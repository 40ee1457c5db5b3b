"""``python -m bdray.store {ls,du,verify,gc}``: look after a store of results."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bdray import cli
from bdray.exceptions import ConfigError
from bdray.pipeline.store import DAMAGED, UNFINISHED, Store
from bdray.store.entries import STAGES, Contents, Entry, read
from bdray.study.runtime import Runtime

EXAMPLES = """commands:
  ls [STAGE …]      every result: stage, key, size, when, and what it is
  du                size by stage
  verify [STAGE …]  read every file and compare its hash with the manifest's
  gc [STUDY …]      what no study needs, of those named (ubt/* for several, !ubt/main to leave one out; default: all);
                    --delete removes it

examples:
  python -m bdray.store ls victim
  python -m bdray.store verify --store s3://bucket/bdray
  python -m bdray.store gc
  python -m bdray.store gc 'ubt/*' ablations/lambda2 --base scenes_badnet --delete

The exit status is 0 if all is well, 1 if verify finds damage, and 2 if the store or a study cannot be read.
"""
READERS = 4
"""Files that are hashed at once."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parse(arguments)
    return cli.run(lambda console: _do(options, console), "Nothing is half done: run the same command again.")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bdray.store",
        description="List, measure, check and clear a store of results.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", choices=["ls", "du", "verify", "gc"], help="what to do")
    parser.add_argument("names", nargs="*", metavar="NAME", help="stages to list or verify; studies that gc is to keep")
    parser.add_argument("--store", metavar="URI", help="folder or URI of stage results (default: OUTPUT/store)")
    parser.add_argument(
        "--output",
        type=Path,
        action="append",
        metavar="DIR",
        help="where studies ran; given several times, gc keeps what any of them has (default: .bdray)",
    )
    collect = parser.add_argument_group("gc")
    collect.add_argument("--base", action="append", default=[], metavar="NAME", help="keep the studies on it, too")
    collect.add_argument("--delete", action="store_true", help="remove; without it gc only tells")
    collect.add_argument("--unfinished", action="store_true", help="also states of unfinished stages of no study")
    collect.add_argument(
        "--hours", type=float, default=24.0, help="keep what is younger, for a study may be at it (default: 24)"
    )
    options = parser.parse_intermixed_args(arguments)
    if options.command != "gc" and (options.base or options.delete or options.unfinished):
        parser.error(f"--base, --delete and --unfinished belong to gc, not to {options.command}")
    if options.command == "du" and options.names:
        parser.error("du takes no names")
    return options


def _do(options: argparse.Namespace, console: Console) -> int:
    outputs = options.output or [Path(".bdray")]
    runtime = Runtime(output=outputs[0], store=options.store)
    store = Store(runtime.store_uri, runtime.cache)
    if options.command == "gc":
        return _collect(options, store, outputs, console)
    for name in options.names:
        if name not in STAGES:
            raise ConfigError(f"stage {name!r}: there is no such stage. Known: {', '.join(STAGES)}.")
    contents = read(store, options.names or STAGES)
    if options.command == "ls":
        return _list(contents, console)
    return _measure(contents, console) if options.command == "du" else _verify(contents, store, console)


def _list(contents: Contents, console: Console) -> int:
    table = Table("stage", "key", "size", "when", "what", box=None, pad_edge=False)
    for entry in contents.entries:
        cells = (entry.stage, entry.key, size(entry.bytes), _time(entry.changed), contents.label(entry))
        table.add_row(*map(cli.plain, cells))
    console.print(table)
    return cli.GOOD


def _measure(contents: Contents, console: Console) -> int:
    parts: list[tuple[str, int, int]] = []
    for stage in STAGES:
        entries = [entry for entry in contents.entries if entry.stage == stage and entry.manifest is not None]
        parts.append((stage, len(entries), sum(entry.bytes for entry in entries)))
    incomplete = [entry for entry in contents.entries if entry.manifest is None]
    parts.append(("no manifest", len(incomplete), sum(entry.bytes for entry in incomplete)))
    for kind in (DAMAGED, UNFINISHED):
        files = [file for file in contents.others if file.path.startswith(f"{kind}/")]
        parts.append((kind, len({file.path.split("/")[1] for file in files}), sum(file.bytes for file in files)))
    table = Table("stage", "results", "size", box=None, pad_edge=False)
    for name, count, total in parts:
        if count or name in STAGES:
            table.add_row(name, str(count), size(total))
    table.add_row("all", str(sum(count for _, count, _ in parts)), size(sum(total for _, _, total in parts)))
    console.print(table)
    return cli.GOOD


def _verify(contents: Contents, store: Store, console: Console) -> int:
    from rich.progress import Progress

    damage = [f"{entry.folder}/{entry.damage}" for entry in contents.entries if entry.damage]
    files = [(entry, path, sha256) for entry in contents.entries for path, sha256 in entry.hashes.items()]
    with ThreadPoolExecutor(READERS) as pool, Progress(console=console, transient=True) as bar:
        task = bar.add_task("files", total=len(files))
        for found in pool.map(lambda file: _damage(store, *file), files):
            damage += found
            bar.advance(task)
    for line in damage:
        console.print(f"damaged: {cli.plain(line)}", highlight=False, soft_wrap=True)
    total = size(sum(entry.bytes for entry in contents.entries))
    verdict = f"{len(damage)} are damaged; studies that need them compute them anew" if damage else "all as written"
    console.print(f"{len(files)} files of {len(contents.entries)} results, {total}: {verdict}", highlight=False)
    return cli.FOUND if damage else cli.GOOD


def _damage(store: Store, entry: Entry, path: str, sha256: str) -> list[str]:
    if path not in {file.path for file in entry.files}:
        return [f"{path}: it is gone"]
    try:
        return [] if store.place.sha256(path) == sha256 else [f"{path}: its hash is not the manifest's"]
    except FileNotFoundError:  # since the list was made
        return []


def _collect(options: argparse.Namespace, store: Store, outputs: Sequence[Path], console: Console) -> int:
    from bdray.store.gc import delete, garbage
    from bdray.store.needs import matching, needed

    contents, keep, unknown = read(store), set[str](), []
    for name in matching(options.names):
        try:
            keep |= needed(name, options.base, outputs, contents)
        except ConfigError as error:
            if name in options.names:
                raise
            unknown.append(str(error))
    if unknown and options.delete:
        raise ConfigError(f"{unknown[0]} Nothing was removed.")
    found, young = garbage(store, contents, keep, hours=options.hours, with_unfinished=options.unfinished)
    table = Table("kind", "size", "when", "what", box=None, pad_edge=False)
    for one in found:
        table.add_row(one.what, size(one.bytes), _time(one.changed), cli.plain(one.name))
    if found:
        console.print(table)
    if options.delete:
        delete(store, found)
    kept = sum(entry.key in keep for entry in contents.entries)
    for line in _summary(options, kept, young, len(found), sum(one.bytes for one in found), unknown):
        console.print(cli.plain(line), highlight=False, soft_wrap=True)
    return cli.GOOD


def _summary(
    options: argparse.Namespace, kept: int, young: int, count: int, total: int, unknown: Iterable[str]
) -> Iterable[str]:
    yield f"{kept} results are needed and stay."
    if young:
        yield f"{young} that nobody needs are younger than {options.hours:g} hours and stay; see --hours."
    yield from (f"Not known: {reason}" for reason in unknown)
    verb = "removed" if options.delete else "can go; --delete removes them"
    yield f"{count}, {size(total)}: {verb}." if count else "There is nothing to remove."


def size(count: int) -> str:
    """``5.7 MB``."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


if __name__ == "__main__":
    sys.exit(main())
