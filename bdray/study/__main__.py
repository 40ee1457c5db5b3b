"""``python -m bdray.study NAME``: run a study.

Science is set in YAML and by ``FIELD=VALUE`` words; options say only where things are.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bdray import cli
from bdray.exceptions import ConfigError
from bdray.study.files import names, studies_folder, title_and_source

if TYPE_CHECKING:
    from bdray.study.spec import LoadedStudy

EXAMPLES = """examples:
  python -m bdray.study --list
  python -m bdray.study ablations/lambda2
  python -m bdray.study ablations/lambda2 --dry-run
  python -m bdray.study ablations/lambda2 --base scenes_badnet
  python -m bdray.study ablations/lambda2 defense.recipe.epochs=10 'seeds=[0]'
  python -m bdray.study ablations/lambda2 --address http://ray-head:8265 --store s3://bucket/bdray \\
      --tracking-uri http://mlflow:5000
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parse(arguments)
    again = "Run the same command again: it goes on from the last finished epochs."
    return cli.run(lambda console: _do(options, console), again)


def _do(options: argparse.Namespace, console: Console) -> int:
    if options.attach is not None:
        return _attach(options, console)
    if options.list or options.name is None:
        console.print(_listing(), highlight=False)
        return cli.GOOD
    from bdray.study.runtime import is_job_server
    from bdray.study.spec import load

    given = {
        "output": options.output,
        "store": options.store,
        "tracking_uri": options.tracking_uri,
        "address": options.address,
    }
    runtime = {name: value for name, value in given.items() if value is not None}
    loaded = load(options.name, options.overrides, base=options.base, runtime=runtime)
    if options.dry_run:
        return _dry_run(loaded, console)
    if is_job_server(loaded.runtime.address):
        return _submit(loaded, options, console)
    return _run(loaded, console)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bdray.study",
        description="Run a study of backdoor attacks and defenses on CLIP.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # or --stor would do, until another option begins with it
    )
    parser.add_argument("name", nargs="?", help="study, such as ablations/lambda2")
    parser.add_argument(
        "overrides", nargs="*", metavar="FIELD=VALUE", help="fields of the experiment, study or runtime"
    )
    parser.add_argument("--list", action="store_true", help="list all studies")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check the study and whether its places can be written, print plan and price; compute nothing, read no "
        "data, ask neither Ray nor MLflow",
    )
    parser.add_argument("--base", metavar="NAME", help="another base experiment, from studies/base")
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        help="Ray cluster to join (auto, HOST:PORT), or job server to send the study to (http://HOST:8265); without it "
        "a local Ray is started and stopped",
    )
    parser.add_argument("--attach", metavar="JOB", help="return to a job of the job server at --address")
    parser.add_argument("--store", metavar="URI", help="folder or URI of stage results (default: OUTPUT/store)")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow server or database (default: SQLite in OUTPUT)")
    parser.add_argument("--output", metavar="DIR", help="folder of everything else (default: .bdray)")
    return parser.parse_intermixed_args(arguments)


def _listing() -> Table:
    folder = studies_folder()
    table = Table("study", "title", "source", box=None, pad_edge=False)
    for name, path in names(folder).items():
        try:
            title, source = map(cli.plain, title_and_source(path))
        except ConfigError as error:  # one that somebody is writing hides no other
            title, source = f"[red]{cli.plain(str(error))}[/]", ""
        table.add_row(f"[bold]{name}[/]", title, f"[dim]{source}[/]")
    return table


def _attach(options: argparse.Namespace, console: Console) -> int:
    from bdray.study.runtime import is_job_server

    if options.name is not None or not is_job_server(options.address):
        raise ConfigError("--attach JOB: takes no study, and --address http://HOST:8265 of the job server.")
    from bdray.study.submit import attach

    return attach(options.address, options.attach, console)


def _submit(loaded: "LoadedStudy", options: argparse.Namespace, console: Console) -> int:
    from bdray.study.submit import submit

    return submit(loaded, options.overrides, options.base, console)


def _dry_run(loaded: "LoadedStudy", console: Console) -> int:
    from bdray.pipeline.store import Store
    from bdray.study.announce import say_plan
    from bdray.study.runner import check_places, known_plan
    from bdray.study.runtime import is_job_server

    runtime = loaded.runtime
    store = Store(runtime.store_uri, runtime.cache)
    if not is_job_server(runtime.address):  # whose machines write, not this one
        check_places(runtime, store, leave_nothing=True)
    known = known_plan(loaded, store)
    say_plan(loaded, known, console, with_price=True)
    table = Table("stage", "key", "epochs", "in store", box=None, pad_edge=False)
    for job in known.jobs:
        table.add_row(job.label, job.key, str(job.epochs), "yes" if job.key in known.finished else "–")
    console.print(table)
    console.print(f"store: {runtime.store_uri}", highlight=False, soft_wrap=True)
    return 0


def _run(loaded: "LoadedStudy", console: Console) -> int:
    started = time.monotonic()
    # An interpreter that may not cache byte code starts workers three times slower.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    from bdray.study import runner
    from bdray.study.announce import say_plan

    outcome = runner.run(loaded, console, lambda known: say_plan(loaded, known, console))
    built = outcome.report
    console.print(built.summary.fit(console.width).to_rich())
    console.print(built.finding, highlight=False)
    console.print()
    for path in built.files:
        if path.name in ("report.html", "figure.png", "examples.png", "table.csv"):
            console.print(f"{path.stem:>8}  {_short(path)}", highlight=False, soft_wrap=True)
    pages = outcome.tracking
    shown = [pages.table] if pages.is_server and pages.table else [pages.command, pages.table]
    for title, text in zip(("MLflow", ""), shown, strict=False):
        if text:
            console.print(f"{title:>8}  {text}", highlight=False, soft_wrap=True, markup=False)
    if outcome.limit:
        console.print(f"stopped: {outcome.limit}", highlight=False)
    for why in outcome.damaged:
        console.print(f"[yellow]damaged in the store, set aside and computed anew:[/] {cli.plain(why)}", soft_wrap=True)
    if outcome.pending:
        console.print(f"[yellow]{outcome.pending} records wait for the MLflow server; the next run sends them.[/]")
    if outcome.failures:
        failed = cli.count(outcome.failures, "stage")
        console.print(f"[red]{failed} failed; see above and the report. Running again retries them.[/]")
    console.print(f"[dim]{time.monotonic() - started:.0f} s[/]", highlight=False)
    return 1 if outcome.failures else 0


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


if __name__ == "__main__":
    status = main()
    if status == cli.INTERRUPTED:  # Ray that was interrupted while it started may crash the interpreter on its way out
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
