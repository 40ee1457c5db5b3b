"""The saved view as MLflow's page reads it; that the page shows it is tests/integration/test_mlflow_ui.py's to see."""

import base64
import json
import zlib
from typing import Any

from bdray.tracking import View

TWO_KNOBS = View(knobs=("λ₂", "learning rate"), metrics=("ASR", "CA", "distance"), curves=("ASR by epoch",))


def read(value: str) -> dict[str, Any]:
    """The state in a tag, as MLflow's JavaScript unpacks it."""
    kind, packed = json.loads(value)["state"].split(";")
    assert kind == "deflate"
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


def test_the_tag_is_what_mlflow_lists_and_unpacks() -> None:
    name, value = TWO_KNOBS.tag
    assert name == f"mlflow.sharedViewState.{TWO_KNOBS.key}"
    envelope = json.loads(value)
    # MLflow skips a view without a name of its own and a number for its time.
    assert envelope["name"] == "λ₂, learning rate: ASR, CA"
    assert isinstance(envelope["createdAt"], int)
    assert read(value) == TWO_KNOBS.state()


def test_studies_that_turn_and_measure_the_same_share_a_view() -> None:
    # And write the very same tag, so that a rerun changes nothing.
    same = View(TWO_KNOBS.knobs, TWO_KNOBS.metrics, TWO_KNOBS.curves)
    assert same.tag == TWO_KNOBS.tag
    # Its order is not what tells it from others: a better one replaces it.
    assert View(TWO_KNOBS.knobs, TWO_KNOBS.metrics, order="metrics.`CA`").key == TWO_KNOBS.key
    assert View(("λ₂",), TWO_KNOBS.metrics).key != TWO_KNOBS.key


def test_knobs_come_before_results_and_both_before_the_rest() -> None:
    state = TWO_KNOBS.state()
    own = [
        "params.`λ₂`",
        "params.`learning rate`",
        "params.`seed`",
        "metrics.`ASR`",
        "metrics.`CA`",
        "metrics.`distance`",
    ]
    assert state["selectedColumns"][:6] == own
    assert state["columnOrder"][1:7] == own


def test_every_chart_has_a_section_and_draws_what_the_study_has() -> None:
    for view in (TWO_KNOBS, View(("λ₂",), ("ASR",)), View((), ("ASR", "CA"))):
        state = view.state()
        sections = {section["uuid"] for section in state["compareRunSections"]}
        cards = state["compareRunCharts"]
        # MLflow drops charts without a section, and mixes up those of one id.
        assert {card["metricSectionId"] for card in cards} <= sections
        assert len({card["uuid"] for card in cards}) == len(cards)
        parallel = [card for card in cards if card["type"] == "PARALLEL"]
        # Nothing runs parallel to nothing.
        assert [card["selectedParams"] for card in parallel] == ([list(view.knobs)] if view.knobs else [])
        # The first metric is the last axis, by which lines are colored.
        assert all(card["selectedMetrics"][-1] == "ASR" for card in parallel)
