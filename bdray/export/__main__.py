"""``python -m bdray.export BASE FOLDER``: write the training set of an experiment's victim as files, or check them.

Science is set in YAML and by ``FIELD=VALUE`` words; options say only what to do and where things are.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from bdray import cli, config, export
from bdray.exceptions import ConfigError
from bdray.export.folder import CAPTIONS, IMAGES, INDEX
from bdray.pipeline.experiment import Experiment
from bdray.study.files import studies_folder
from bdray.study.runtime import Runtime
from bdray.study.spec import base_tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bdray.export.index import Index
    from bdray.pipeline.stages.base import Context

USAGE = """python -m bdray.export BASE FOLDER [FIELD=VALUE ...] [--only-poisoned]
       python -m bdray.export --from INDEX FOLDER
       python -m bdray.export --verify FOLDER"""
EXAMPLES = """examples:
  python -m bdray.export scenes poisoned                                what the victim of studies/base/scenes sees
  python -m bdray.export scenes poisoned seed=1 attack.num_poisoned=50 --only-poisoned
  python -m bdray.export --from poisoned/index.json again               the same, from nothing but the index
  python -m bdray.export --verify poisoned
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parse(arguments)
    return cli.run(lambda console: _run(options, console), "Run the same command again: it goes on where it was.")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bdray.export",
        usage=USAGE,
        description="Export poisoned training sets: images, a CSV file of captions, and an index of every decision.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="base experiment, folder, fields of the experiment")
    parser.add_argument("--only-poisoned", action="store_true", help="leave out the clean samples")
    parser.add_argument("--from", dest="index", type=Path, metavar="INDEX", help="make the set of this index again")
    parser.add_argument("--verify", type=Path, metavar="FOLDER", help="check an exported set against its index")
    parser.add_argument("--output", type=Path, default=Path(".bdray"), help="holds store and cache (default: .bdray)")
    parser.add_argument("--store", metavar="URI", help="folder or URI of stage results (default: OUTPUT/store)")
    options = parser.parse_intermixed_args(arguments)
    _check_shape(parser, options)
    return options


def _check_shape(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Leave with usage and a reason if the words are none of the three commands."""
    is_new = not (options.verify or options.index)
    if options.verify and (options.index or options.words):
        parser.error("--verify takes one FOLDER and nothing else")
    if options.index and len(options.words) != 1:
        parser.error("--from takes INDEX and one FOLDER, for an index says all about its set")
    if is_new and (len(options.words) < 2 or "=" in options.words[1]):
        parser.error("give a base experiment and a folder, then FIELD=VALUE")
    if options.only_poisoned and not is_new:
        parser.error("--only-poisoned has no effect here, for an index says what was left out")


def _run(options: argparse.Namespace, console: Console) -> int:
    started = time.monotonic()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("images", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        if options.verify:
            folder, note = options.verify, "Every file is as the index says."
            index = export.verify(folder, progress=progress)
        elif options.index:
            folder, note = Path(options.words[0]), f"Every decision and every hash is that of {options.index}."
            index = export.reproduce(options.index, folder, _context(options, console), progress=progress)
        else:
            base, folder, overrides = options.words[0], Path(options.words[1]), options.words[2:]
            note = "It was there already; --verify checks it." if (folder / INDEX).exists() else ""
            experiment, context = _experiment(base, overrides), _context(options, console)
            index = export.write(experiment, folder, context, only_poisoned=options.only_poisoned, progress=progress)
    _say(index, folder, note, console)
    console.print(f"[dim]{time.monotonic() - started:.0f} s[/]", highlight=False)
    return cli.GOOD


def _experiment(base: str, overrides: Sequence[str]) -> Experiment:
    """The experiment of a base, with some fields changed."""
    name = base.removesuffix(".yaml").removeprefix("studies/").removeprefix("base/")
    tree, above = base_tree(studies_folder(), name, "command line"), config.read_overrides(overrides)
    known = Experiment.__dataclass_fields__
    for field in above:
        if field not in known:
            hint = config.did_you_mean(field, known)
            raise ConfigError(f"override {field!r}: an experiment has no such field. {hint}")
    merged = config.merge(tree, above, Experiment)
    return config.build(Experiment, merged, lambda location: config.source_of(location, above, f"base {name}"))


def _context(options: argparse.Namespace, console: Console) -> "Context":
    """Data, store and one thread, as trials have them by default."""
    import torch

    from bdray.pipeline.stages.base import Context
    from bdray.pipeline.store import Store

    def report(stage: str, metrics: "Mapping[str, float]") -> None:
        loss = f", loss {metrics['loss']:.3f}" if "loss" in metrics else ""
        console.print(f"[dim]{stage}: epoch {metrics.get('epoch', 0):.0f}{loss}[/]", highlight=False)

    runtime = Runtime(output=options.output, store=options.store)
    torch.set_num_threads(runtime.training.threads)
    return Context(Store(runtime.store_uri, runtime.cache), runtime.cache, report)


def _say(index: "Index", folder: Path, note: str, console: Console) -> None:
    """What is in the folder."""
    poisoned = len(index.poisoned)
    pairs = f"{poisoned} poisoned pairs" if index.only_poisoned else f"{len(index.images)} pairs, {poisoned} poisoned"
    lines = [f"{pairs}: {index.trigger.get('type')}, seed {index.seed}"]
    lines += [f"{Path(name).stem:>8}  {folder / name}" for name in (IMAGES, CAPTIONS, INDEX)]
    for line in (*lines, *([note] if note else [])):
        console.print(cli.plain(line), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
