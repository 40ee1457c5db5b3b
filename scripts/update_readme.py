"""Fill the README's generated blocks and pictures from finished studies and the benchmarks' results.

Usage: python scripts/update_readme.py [OUTPUT] [--live FILE]

The table of speed is made from ``claims`` of ``benchmarks/results/*.json`` (see ``benchmarks/record.py``). For the
others it takes the output folder of ``python -m bdray.study`` with some of ``ablations/lambda2``, ``attacks/overview``,
``search/ubt``, ``ubt/main`` and ``cleanerclip/equal_budget`` in it and, if the live table is to be shown too, a text
capture of it (``tmux capture-pane -p``).
"""

import argparse
import json
import shutil
from pathlib import Path

import pandas as pd

from bdray.report import build
from bdray.report.results import Results, load
from bdray.report.statistics import estimate
from bdray.report.study import Metric
from bdray.report.tables import Summary

ROOT = Path(__file__).parents[1]
STUDY = "ablations/lambda2"
ATTACKS = "attacks/overview"
SEARCH = "search/ubt"
DEFENSES = {"unlearning": "ubt/main", "budget": "cleanerclip/equal_budget"}
"""Studies of attacks by defenses, by the block that shows them."""
SPEED = (
    "The default study takes {wall_seconds} s from an empty store (base, 3 victims, 18 trials) and {peak_memory_gb} GB "
    "of memory at most, all processes together; {training_over_slots_times_wall:.0%} of the slots' time after the base "
    "is spent in training steps ({date}, {cpus} CPU cores). Targets and what benchmarks measured last:"
)


def main() -> None:
    """Rewrite README.md in place."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, nargs="?", default=Path(".bdray"))
    parser.add_argument("--live", type=Path)
    options = parser.parse_args()
    blocks = {"speed": speed()}
    if (options.output / "studies" / STUDY).is_dir():
        report = build(options.output / "studies" / STUDY)
        shutil.copy(report.page.with_name("figure.png"), ROOT / "docs" / "lambda2.png")
        blocks |= {"table": markdown(report.summary), "finding": report.finding.replace("\n", "\n\n")}
    if (options.output / "studies" / ATTACKS).is_dir():
        report = build(options.output / "studies" / ATTACKS)
        shutil.copy(report.page.with_name("examples.png"), ROOT / "docs" / "attacks.png")
        blocks["attacks"] = markdown(report.summary)
    if (options.output / "studies" / SEARCH).is_dir():
        report = build(options.output / "studies" / SEARCH)
        shutil.copy(report.page.with_name("figure.png"), ROOT / "docs" / "search.png")
    for block, name in DEFENSES.items():
        if (options.output / "studies" / name).is_dir():
            blocks[block] = crossed(load(options.output / "studies" / name))
    if options.live:
        blocks["live"] = f"```text\n{options.live.read_text(encoding='utf-8').strip()}\n```"
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, content in blocks.items():
        begin, end = f"<!-- begin:{name} -->\n", f"<!-- end:{name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}{content}\n{end}{rest.split(end)[1]}"
    readme.write_text(text, encoding="utf-8")


def markdown(summary: Summary) -> str:
    """The summary as a Markdown table."""
    lines = [summary.header, ["---"] * len(summary.header), *summary.lines()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def crossed(results: Results) -> str:
    """ASR and CA of a study of two axes, the first down and the second across."""
    rows, columns = (axis.levels for axis in results.study.axes)
    asr, ca = results.study.metrics[:2]
    lines = [[results.study.axes[0].label, *map(str, columns)], ["---"] * (len(columns) + 1)]
    for row in rows:
        models = [results.at(results.trials, (row, column)) for column in columns]
        cells = [f"{asr.show_estimate(estimate(list(found[asr.name])))} / {mean(found, ca)}" for found in models]
        lines.append([str(row), *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def mean(models: pd.DataFrame, metric: Metric) -> str:
    """Of a metric over seeds, without its interval."""
    return metric.show(estimate(list(models[metric.name])).mean)


def speed() -> str:
    """What benchmarks claim, and whether it holds; each by its latest result."""
    results = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    lines = ["| what | target | measured | | on |", "|---|---|---|---|---|"]
    for path in results:
        found = json.loads(path.read_text(encoding="utf-8"))
        where = f"{found.get('date', '')}, `{path.stem}`"
        for claim in found.get("claims", []):
            measured = f"{claim['measured']:g} {claim['unit']}".rstrip()
            verdict = "met" if claim["met"] else "**missed**"
            lines.append(f"| {claim['name']} | {claim['target']} | {measured} | {verdict} | {where} |")
    whole = json.loads((ROOT / "benchmarks" / "results" / "default_study.json").read_text(encoding="utf-8"))
    return "\n".join([SPEED.format(**whole), "", *lines])


if __name__ == "__main__":
    main()
