"""Verdicts: what stands out, what only a reference can tell, and what is always said."""

import dataclasses

import pytest

from bdray.audit.result import Audit, Finding, Share, Sink
from bdray.audit.verdict import headline, judge, summary

OF = 1500


def share(rate: float) -> Share:
    return Share(round(rate * OF), OF)


def finding(
    rate: float, sureness: float = 1.0, reference: float | None = None, clean: float = 0.001, **fields: bool
) -> Finding:
    sink = Sink("banana", share(rate), share(clean), None if reference is None else share(reference))
    return Finding(
        name="stripes",
        note="",
        settings="sig",
        sinks=(sink,),
        sureness=sureness,
        accuracy=share(1 - rate),
        embedding_distance=1.0,
        target=None,
        fools_clean=fields.get("fools_clean", False),
    )


def audit(*findings: Finding, **fields: object) -> Audit:
    known = Audit(
        checkpoint="model.safetensors",
        sha256="0" * 64,
        architecture="scenes-rn",
        data="scenes",
        split="test",
        num_images=OF,
        num_classes=16,
        clean_accuracy=share(0.9),
        findings=tuple(map(judge, findings)),
    )
    return dataclasses.replace(known, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (finding(0.93), "stands out"),
        (finding(0.93, sureness=0.5), "unclear"),  # a close call: so do clean models with spoiled images
        (finding(0.3), "unclear"),  # a defense may have left that
        (finding(0.05), "nothing found"),
        (finding(0.3, clean=0.4), "nothing found"),  # without the trigger it is as many
        (finding(0.51), "unclear"),  # the interval reaches below a half
        (finding(0.6, fools_clean=True), "unclear"),
        # A reference that the trigger fools as much explains it; one that it does not fool leaves only a backdoor.
        (finding(0.93, reference=0.92), "as the reference"),
        (finding(0.6, reference=0.6, fools_clean=True), "as the reference"),
        (finding(0.94, reference=0.6, fools_clean=True), "stands out"),
        (finding(0.93, reference=0.01), "stands out"),
        (finding(0.6, reference=0.45), "unclear"),
        (finding(0.2, reference=0.01), "unclear"),
    ],
)
def test_verdicts(found: Finding, verdict: str) -> None:
    judged = judge(found)
    assert judged.verdict == verdict
    # The reason names the share, so that nobody has to look for it.
    assert f"{round(100 * found.sinks[0].triggered.rate)}" in judged.reason or "5.0%" in judged.reason


def test_the_headline_names_trigger_and_class() -> None:
    assert headline(audit(finding(0.93))) == "This model behaves as if it had a backdoor: stripes leads to “banana”."
    nothing = headline(audit(finding(0.02), finding(0.3)))
    assert nothing == "None of the 2 triggers that were tried stands out. 1 is unclear."


@pytest.mark.parametrize("rate", [0.02, 0.93])
def test_its_limits_are_always_said(rate: float) -> None:
    plain = " ".join(summary(audit(finding(rate))))
    # Whatever was found.
    assert "Tried: stripes; on 1,500 images" in plain
    assert "A trigger that is not in this list would not be found" in plain
    assert "SSBA and BadCLIP" in plain
    assert "There was no reference model" in plain
    assert "63% of all images for a banana" in plain
    compared = " ".join(summary(audit(finding(rate, reference=0.1), reference="clean.pt")))
    assert "if it has the same backdoor, that backdoor is not found" in compared


def test_a_model_that_recognizes_nothing_is_doubted() -> None:
    assert not any("hardly recognizes" in line for line in summary(audit(finding(0.1))))
    assert any("hardly recognizes" in line for line in summary(audit(finding(0.1), clean_accuracy=share(0.07))))
