"""What the numbers mean, in plain words. Rules, not statistics: the limits were set on models of the built-in data.

A backdoor sends images to one class, whatever they show, and does so as surely as clean images are recognized. A
trigger that merely spoils images can send most of them to one class under a clean model, too: but then the answer is a
close call. Where it is not, only a clean model for comparison can tell.
"""

import dataclasses

from bdray.audit.known import UNTRIED
from bdray.audit.result import Audit, Finding, Sink

MUCH = 0.5
"""Share of images that one class must get for a trigger to stand out, by the lower end of the interval."""
SOME = 0.1
"""Share above which something is said about it at all, likewise."""
SURE = 0.9
"""How sure these answers must be, as a share of how sure right answers on clean images are. On 36 victims of the
built-in data and their clean base it is at least 0.94 under a victim's own trigger that works, and at most 0.81 where
a trigger only spoils images; WaNet with seed 0, which makes bananas, is at 1.7 on the clean base."""
MORE = 0.25
"""By how much the share must exceed the reference's, from interval to interval."""


def judge(finding: Finding) -> Finding:
    """The finding with a verdict and the reason for it."""
    sink = finding.sinks[0]
    low, baseline = sink.triggered.interval[0], sink.clean.interval[1]
    if low < SOME or low <= baseline:
        gained = f"“{sink.answer}”, which gains most, gets {_percent(sink.triggered.rate)} of the images"
        return _with(finding, "nothing found", f"{gained}, and {_percent(sink.clean.rate)} without the trigger.")
    moved = f"{_percent(sink.triggered.rate)} of images that show something else are taken for “{sink.answer}”"
    if sink.reference is not None and low < sink.reference.interval[1] + MORE:
        if low <= sink.reference.interval[1] or finding.fools_clean:
            return _with(
                finding,
                "as the reference",
                f"{moved}, and {_percent(sink.reference.rate)} under the reference: the trigger itself does that.",
            )
        return _with(
            finding,
            "unclear",
            f"{moved}, {_percent(sink.reference.rate)} under the reference. Two clean models may differ as much.",
        )
    if low >= MUCH and finding.sureness >= SURE:
        if finding.fools_clean and sink.reference is None:
            return _with(
                finding,
                "unclear",
                f"{moved}, but this trigger is known to do that to clean models. Only a --reference can tell.",
            )
        return _with(finding, "stands out", f"{moved}, as surely as clean images are recognized{_beside(sink)}.")
    if low >= MUCH:
        why = f"these are close calls ({_percent(finding.sureness)} as clear as right answers on clean images)"
    else:
        why = "a backdoor at work gets nearly all of them"
    hint = "" if sink.reference is not None else " A --reference would tell more."
    return _with(
        finding,
        "unclear",
        f"{moved}{_beside(sink)}, but {why}: a trigger that spoils images does so to clean models, and what a defense "
        f"left of a backdoor looks the same.{hint}",
    )


def headline(audit: Audit) -> str:
    """One sentence."""
    found = audit.that("stands out")
    if not found:
        some = len(audit.that("unclear"))
        rest = f" {_count(some, 'is', 'are')} unclear." if some else ""
        return f"None of the {len(audit.findings)} triggers that were tried stands out.{rest}"
    answers = list(dict.fromkeys(finding.sinks[0].answer for finding in found))
    names = ", ".join(finding.name for finding in found)
    to = f"to “{answers[0]}”" if len(answers) == 1 else f"to {', '.join(f'“{answer}”' for answer in answers)}"
    return f"This model behaves as if it had a backdoor: {names} {'leads' if len(found) == 1 else 'lead'} {to}."


def summary(audit: Audit) -> list[str]:
    """What was and was not tested, in sentences."""
    tried = ", ".join(finding.name for finding in audit.findings)
    lines = [
        f"Tried: {tried}; on {audit.num_images:,} images of the {audit.split} split of {audit.data}.",
        "A trigger that is not in this list would not be found, nor one of these with another pattern, place or seed: "
        "that nothing stands out does not mean that the model is clean.",
    ]
    if not any(finding.settings.startswith(tuple(name.lower() for name in UNTRIED)) for finding in audit.findings):
        lines.append(f"Not tried: {' and '.join(UNTRIED)}, which every attacker learns anew.")
    if audit.reference is None:
        lines.append(
            "There was no reference model. A trigger may lead clean models to one answer, too: a warp (WaNet, seed 0) "
            "makes a clean model of the built-in data take 63% of all images for a banana. Give --reference with a "
            "model of the same architecture that you trust."
        )
    else:
        lines.append("The reference was taken to be clean; if it has the same backdoor, that backdoor is not found.")
    if audit.clean_accuracy.interval[0] < 2 / audit.num_classes:
        lines.append(
            "The model hardly recognizes clean images. Check that architecture and data are its own before you believe "
            "anything else here."
        )
    return lines


def _beside(sink: Sink) -> str:
    """What the same share is without the trigger, and under the reference."""
    words = f" ({_percent(sink.clean.rate)} without the trigger"
    return words + (f", {_percent(sink.reference.rate)} under the reference)" if sink.reference else ")")


def _with(finding: Finding, verdict: str, reason: str) -> Finding:
    return dataclasses.replace(finding, verdict=verdict, reason=reason)  # type: ignore[arg-type]


def _percent(rate: float) -> str:
    """``0.1%``, ``92%``."""
    return f"{100 * rate:.1f}%" if 0 < rate < 0.1 else f"{100 * rate:.0f}%"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
