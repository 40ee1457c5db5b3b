"""The simulator of benchmarks/: cases that can be reckoned by hand, and a store that one run left."""

import json
import math
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from cluster_simulation import ENGINE_SECONDS, Outcome, Piece, Pool, Simulation, pieces_of


def run(pieces: list[Piece], **settings: float) -> Outcome:
    return Simulation(pieces, Pool(**settings)).run()  # type: ignore[arg-type]


def chain(*seconds: float) -> list[Piece]:
    """Jobs that each need the one before."""
    return [Piece(str(place), (str(place - 1),) if place else (), 1, each) for place, each in enumerate(seconds)]


def test_jobs_wait_for_their_inputs_and_for_slots() -> None:
    victims = [Piece(f"victim {number}", ("base",), 2, 20.0) for number in range(3)]
    found = run([Piece("base", (), 1, 10.0), *victims], nodes=2)
    # The base; two victims at once; and the third, each a moment of the driver later.
    assert found.seconds == pytest.approx(10 + 20 + 20, abs=5 * ENGINE_SECONDS)
    assert found.busy == pytest.approx(70)
    # More slots than jobs that are ready are of no use.
    assert run(chain(10.0, 10.0), nodes=8, slots=4).seconds == pytest.approx(20 + 2 * ENGINE_SECONDS)


def test_a_driver_cannot_keep_up_with_too_many_slots() -> None:
    pieces = [Piece(str(number), (), 1, 1.0) for number in range(1000)]
    assert run(pieces, nodes=100).seconds == pytest.approx(1000 * ENGINE_SECONDS + 1, abs=1)


def test_lost_nodes_take_their_jobs_back_to_the_last_checkpoint() -> None:
    settings = {"nodes": 4, "life_hours": 2.0, "replacement_minutes": 5, "max_retries": 1000}
    pieces = [Piece(str(number), (), 1, 5 * 3600.0) for number in range(16)]
    kept, anew = (run(pieces, checkpoint_minutes=minutes, **settings) for minutes in (10, float("inf")))
    undisturbed = run(pieces, nodes=4)
    # All is computed in the end, and what is computed twice is what was lost: on average half of ten minutes each time.
    assert kept.busy - kept.again == pytest.approx(undisturbed.busy)
    assert kept.failed == 0
    assert 200 < kept.again / kept.losses < 400
    assert undisturbed.seconds < kept.seconds < anew.seconds
    # Without a checkpoint five hours on end have to come up: that takes e^2.5 - 1 lives of two hours, on average.
    assert anew.busy / 16 / 3600 == pytest.approx(2 * (math.e**2.5 - 1), rel=0.5)


def test_a_job_that_loses_its_node_too_often_fails_and_takes_others_along() -> None:
    found = run(chain(1e6, 1.0, 1.0), nodes=1, life_hours=1.0, max_retries=2)
    assert (found.losses, found.failed) == (3, 3)


def put(store: Path, stage: str, key: str, started: float, seconds: float, **inputs: str) -> None:
    manifest = {"stage": stage, "key": key, "started": started, "seconds": seconds, "inputs": inputs, "work": None}
    path = store / stage / key / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(manifest))


def test_a_store_is_read_as_the_jobs_that_filled_it(tmp_path: Path) -> None:
    put(tmp_path, "pretrain", "b", 100.0, 10.0)
    put(tmp_path, "victim", "v", 110.0, 20.0, pretrain="b")
    put(tmp_path, "evaluate", "of the base", 130.0, 1.0, pretrain="b")
    put(tmp_path, "evaluate", "of the victim", 131.0, 2.0, victim="v", pretrain="b")
    pieces, measured = pieces_of(tmp_path)
    # A model and its evaluations are one job; the base is judged by whoever needed it first.
    assert [(piece.key, piece.needs, piece.seconds) for piece in pieces] == [("b", (), 10.0), ("v", ("b",), 23.0)]
    assert measured == 33.0
