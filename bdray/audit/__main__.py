"""``python -m bdray.audit CHECKPOINT``: find out whether known triggers work on a model that somebody else trained."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rich.console import Console
from rich.table import Table

from bdray import cli, config
from bdray.audit.known import chosen
from bdray.audit.page import percent, ranked, render
from bdray.audit.result import Audit
from bdray.audit.verdict import headline, judge, summary
from bdray.cli import plain
from bdray.data.base import Split
from bdray.exceptions import ConfigError, DataError
from bdray.pipeline.provenance import provenance

if TYPE_CHECKING:
    from bdray.audit.subject import Task

EXAMPLES = """CHECKPOINT is safetensors, or a torch file of tensors and plain values; nothing else is ever unpickled.

examples:
  python -m bdray.audit model.safetensors --data scenes
  python -m bdray.audit epoch_64.pt --data paper/cc3m_rn50 --reference clean.pt --target banana
  python -m bdray.audit model.safetensors --data scenes --triggers badnet,blended,mine.yaml --pairs finetune

mine.yaml maps names to triggers, with the file of what a learned one learned:
  stripes: {type: sig, delta: 0.3}
  ssba: {type: ssba, num_bits: 16, width: 16, cell: 4, state: trigger.safetensors}

The exit status is 0 if nothing stands out, 1 if something does, and 2 if the model or data cannot be read.
"""
STYLES = {"stands out": "bold red", "unclear": "yellow", "as the reference": "dim", "nothing found": "dim"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parse(arguments)
    return cli.run(lambda console: _do(options, console))


def _do(options: argparse.Namespace, console: Console) -> int:
    audit = _audit(options, console)
    folder = _write(audit, options.output)
    _say(audit, folder, console)
    return cli.FOUND if audit.that("stands out") else cli.GOOD


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bdray.audit",
        description="Try known triggers on a CLIP checkpoint, and say what that shows and what it does not.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="file of weights")
    parser.add_argument(
        "fields", nargs="*", metavar="FIELD=VALUE", help="fields of the data, such as data.num_test=400"
    )
    parser.add_argument("--data", required=True, metavar="NAME", help="a base experiment, or a YAML file with `data`")
    parser.add_argument(
        "--split", choices=["validation", "test"], default="test", help="labeled images (default: test)"
    )
    parser.add_argument("--architecture", metavar="NAME", help="of the model (default: the base experiment's)")
    parser.add_argument("--triggers", metavar="NAMES", help="by commas: names, and YAML files (default: all known)")
    parser.add_argument("--reference", type=Path, metavar="CHECKPOINT", help="a clean model of the same architecture")
    parser.add_argument("--target", metavar="CLASS", help="class that you suspect; its ASR is listed, too")
    parser.add_argument("--pairs", choices=get_args(Split), help="split whose pairs to look for outliers in")
    parser.add_argument("--images", type=_count, default=2000, metavar="N", help="how many to ask (default: 2000)")
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda (default: a GPU if there is one)")
    parser.add_argument("--output", type=Path, default=Path(".bdray"), help="holds cache and audits (default: .bdray)")
    return parser.parse_intermixed_args(arguments)


def _count(word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is not a positive number")
    return int(word)


def _audit(options: argparse.Namespace, console: Console) -> Audit:
    from rich.progress import Progress

    from bdray.audit.subject import drawn_images, read_subject, read_task

    task = read_task(options.data, options.fields, [split for split in (options.split, options.pairs) if split])
    words = [word.strip() for word in options.triggers.split(",") if word.strip()] if options.triggers else []
    triggers = chosen(words, task.data.image_size)
    target = _target(task, options.target)
    architecture, device = options.architecture or task.architecture, _device(options.device)
    subject = read_subject(options.checkpoint, architecture, task, device)
    reference = read_subject(options.reference, architecture, task, device) if options.reference else None
    cache = options.output / "cache"
    pairs = drawn_images(task.data.load(options.split, cache), options.images)
    if not len(pairs):
        raise DataError(f"--split {options.split}: --data {options.data} has no labeled image there.")
    from bdray.audit.examine import Examination, find_outliers

    examination = Examination(subject, task, pairs)
    beside = Examination(reference, task, pairs) if reference else None
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        step = bar.add_task("triggers", total=len(triggers))
        findings = []
        for item in triggers:
            findings.append(judge(examination.finding(item, target, beside)))
            bar.advance(step)
        outliers = None
        if options.pairs:
            whole = task.data.load(options.pairs, cache)
            step = bar.add_task("pairs", total=len(whole))
            outliers = find_outliers(subject, options.pairs, whole, lambda count: bar.advance(step, count))
        retrieval, num_retrieved = examination.retrieval()
    made = provenance()
    return Audit(
        checkpoint=str(subject.path),
        sha256=subject.sha256,
        architecture=architecture,
        data=task.name,
        split=options.split,
        num_images=len(pairs),
        num_classes=len(task.data.class_names()),
        clean_accuracy=examination.accuracy,
        findings=tuple(findings),
        reference=str(reference.path) if reference else None,
        reference_accuracy=beside.accuracy if beside else None,
        target=options.target,
        retrieval=retrieval,
        num_retrieved=num_retrieved,
        outliers=outliers,
        versions={"commit": made["commit"], "python": made["python"], **made["versions"]},
    )


def _target(task: "Task", name: str | None) -> int | None:
    names = task.data.class_names()
    if name is not None and name not in names:
        raise ConfigError(f"--target {name!r}: no class has that name. {config.did_you_mean(name, names)}")
    return None if name is None else names.index(name)


def _device(name: str | None) -> str:
    import torch

    found = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(f"--device {found}: cannot be used here ({reason}). Use cpu.") from error
    return found


def _write(audit: Audit, output: Path) -> Path:
    """Write page and numbers into a folder that has the name of the checkpoint and of its content."""
    name = re.sub(r"[^\w.-]", "_", Path(audit.checkpoint).stem, flags=re.ASCII)[:60].strip(".") or "model"
    folder = output / "audits" / f"{name}-{audit.sha256[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(audit.tree(), indent=1, ensure_ascii=False)
        (folder / "audit.json").write_text(f"{text}\n", encoding="utf-8")
        (folder / "audit.html").write_text(render(audit), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}). Give another --output.") from error
    return folder


def _say(audit: Audit, folder: Path, console: Console) -> None:
    """The table, the verdict and its limits."""
    columns = ["trigger", "most go to", "with", "without", *(["reference"] if audit.reference else [])]
    columns += [*([f"ASR {audit.target}"] if audit.target else []), "clear", "verdict"]
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(plain(column), no_wrap=True)
    for finding in ranked(audit):
        sink = finding.sinks[0]
        shares = [sink.triggered, sink.clean, *([sink.reference] if sink.reference else [])]
        shares += [finding.target] if finding.target else []
        numbers = [f"{percent(share.rate)}%" for share in shares]
        cells = [finding.name, sink.answer, *numbers, f"{finding.sureness:.2f}"]
        table.add_row(*map(plain, cells), f"[{STYLES[finding.verdict]}]{finding.verdict}[/]")
    console.print(table)
    console.print(f"clean accuracy {percent(audit.clean_accuracy.rate)}%", highlight=False)
    if audit.outliers:
        found = audit.outliers
        line = f"pairs of {found.split}: {found.num_low} much less alike than most, {found.num_high} much more"
        console.print(line, highlight=False)
    console.print(f"\n[bold]{plain(headline(audit))}[/]", highlight=False)
    for line in summary(audit):
        console.print(f"- {plain(line)}", highlight=False)
    for name in ("audit.html", "audit.json"):
        console.print(plain(str(folder / name)), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
