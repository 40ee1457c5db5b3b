"""When a study ends on a cluster that is not there: the scheduler itself, with made-up nodes that come and go.

Usage: python benchmarks/cluster_simulation.py STORE... [--slots 2]     what it says of studies that really ran

Jobs are handed out by the engine's own queue (:class:`bdray.study.waiting.Waiting`), each to a free slot, by a driver
that needs a moment for each. Nodes are lost at random, which takes their jobs back to their last checkpoints, and are
replaced after a while; a job that lost its node too often has failed, and what needs it with it. Time is that of a
calendar of events, so that a simulated month takes seconds.

The check: the stages of a store that one run made, with the seconds that they took, are scheduled anew, and the end
that comes out is compared with the one on the clock. It shows what the scheduler adds, not how well seconds are
guessed.
"""

import argparse
import heapq
import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from bdray.study.estimate import STAGES
from bdray.study.plan import Job
from bdray.study.waiting import Waiting

ENGINE_SECONDS = 0.2
"""Of the driver for each job, as on 2026-11-21 (0.14 since): it is one process, so no two jobs begin at once."""


@dataclass(frozen=True)
class Piece:
    """A job, as far as the queue looks at it, and how long it takes."""

    key: str
    needs: tuple[str, ...]
    images: int
    seconds: float


@dataclass(frozen=True)
class Pool:
    """Nodes, all of one kind."""

    nodes: int
    slots: int = 1
    """Of each node."""
    life_hours: float = math.inf
    """How long a node lives, in the mean of an exponential distribution."""
    replacement_minutes: float = 10
    """Until another node has its place."""
    checkpoint_minutes: float = math.inf
    """From one checkpoint to the next; inf: a job that is lost begins anew."""
    restart_seconds: float = 30
    """Of a job that goes on elsewhere, until it computes again."""
    max_retries: int = 2


@dataclass
class Outcome:
    """What became of a study."""

    seconds: float = 0.0
    """Until its last job ended."""
    busy: float = 0.0
    """Of all slots together, computing."""
    again: float = 0.0
    """Of these, what had been computed before, and was lost."""
    losses: int = 0
    """Jobs that lost their node, each time counted."""
    failed: int = 0
    """Jobs that lost it too often, or need one that did."""


@dataclass
class _Node:
    running: dict[str, "_Running"] = field(default_factory=dict)
    lives: int = 0
    """Machines that had its place before."""
    is_there: bool = True


@dataclass(frozen=True)
class _Running:
    piece: Piece
    began: float
    """When it computes: after what the driver, or a start, takes."""
    done: float
    """Seconds of it that earlier attempts had computed."""
    tries: int


class Simulation:
    """One study on one pool."""

    def __init__(self, pieces: Iterable[Piece], pool: Pool, seed: int = 0) -> None:
        self._pool, self._draw = pool, random.Random(seed)
        self._waiting, self._lost = Waiting(), list[tuple[Piece, float, int]]()
        """Jobs that wait for their first start, and those that go on where they were, first."""
        for piece in pieces:
            self._waiting.add(cast(Job, piece), ())
        self._nodes = [_Node() for _ in range(pool.nodes)]
        self._calendar: list[tuple[float, int, str, int, Any]] = []
        self._count, self._driver = 0, 0.0
        self._outcome = Outcome()
        for number in range(pool.nodes):
            self._expect_loss(number, 0.0)

    def run(self) -> Outcome:
        """Let the study run to its end."""
        now = 0.0
        self._hand_out(now)
        while self._is_open:
            now, _, what, number, about = heapq.heappop(self._calendar)
            getattr(self, f"_{what}")(now, number, about)
            self._hand_out(now)
        self._outcome.seconds = now
        return self._outcome

    @property
    def _is_open(self) -> bool:
        return bool(self._waiting or self._lost or any(node.running for node in self._nodes))

    def _note(self, time: float, what: str, number: int, about: Any) -> None:
        self._count += 1
        heapq.heappush(self._calendar, (time, self._count, what, number, about))

    def _hand_out(self, now: float) -> None:
        for number, node in enumerate(self._nodes):
            while node.is_there and len(node.running) < self._pool.slots:
                found = self._lost.pop(0) if self._lost else None
                if found is None:
                    piece = cast(Piece | None, self._waiting.next())
                    found = (piece, 0.0, 0) if piece is not None else None
                if found is None:
                    return
                piece, done, tries = found
                self._driver = max(now, self._driver) + ENGINE_SECONDS
                began = self._driver + (self._pool.restart_seconds if tries else 0.0)
                node.running[piece.key] = _Running(piece, began, done, tries)
                self._note(began + piece.seconds - done, "end", number, (piece.key, tries, node.lives))

    def _end(self, now: float, number: int, about: tuple[str, int, int]) -> None:
        key, tries, lives = about
        node = self._nodes[number]
        running = node.running.get(key)
        if running is None or (running.tries, node.lives) != (tries, lives):  # it was lost before it could end
            return
        del node.running[key]
        self._outcome.busy += now - running.began
        self._waiting.finish(key)

    def _expect_loss(self, number: int, now: float) -> None:
        if math.isfinite(self._pool.life_hours):
            life = self._draw.expovariate(1 / (3600 * self._pool.life_hours))
            self._note(now + life, "loss", number, None)

    def _loss(self, now: float, number: int, about: None) -> None:
        node, pool, outcome = self._nodes[number], self._pool, self._outcome
        for running in node.running.values():
            computed = max(0.0, now - running.began)
            kept = max(running.done, self._kept(running.done + computed))
            outcome.losses, outcome.busy = outcome.losses + 1, outcome.busy + computed
            outcome.again += running.done + computed - kept
            if running.tries == pool.max_retries:
                self._fail(running.piece.key)
            else:
                self._lost.append((running.piece, kept, running.tries + 1))
        node.running, node.lives, node.is_there = {}, node.lives + 1, False
        self._note(now + 60 * pool.replacement_minutes, "replacement", number, None)

    def _kept(self, seconds: float) -> float:
        """What of so many seconds of a job its last checkpoint has."""
        step = 60 * self._pool.checkpoint_minutes
        return seconds // step * step if math.isfinite(step) else 0.0

    def _replacement(self, now: float, number: int, about: None) -> None:
        self._nodes[number].is_there = True
        self._expect_loss(number, now)

    def _fail(self, key: str) -> None:
        self._outcome.failed += 1
        for other in self._waiting.needing(key):
            if other.key in self._waiting:
                self._waiting.remove(other.key)
                self._fail(other.key)


def pieces_of(store: Path) -> tuple[list[Piece], float]:
    """The jobs of a store that one run made, with their seconds; and how long it was from first start to last end."""
    found = (store.glob(f"{stage}/*/manifest.json") for stage in STAGES)
    manifests = [json.loads(path.read_text(encoding="utf-8")) for paths in found for path in paths]
    models = {manifest["key"]: manifest for manifest in manifests if manifest["stage"] != "evaluate"}
    seconds = {key: manifest["seconds"] for key, manifest in models.items()}
    for manifest in manifests:
        if manifest["stage"] == "evaluate":
            judged = manifest["inputs"].get("defend") or manifest["inputs"].get("victim")
            if judged is None:  # the clean base under the trigger: whoever was first did it
                begun = [key for key, one in models.items() if one["started"] < manifest["started"]]
                judged = max(begun, key=lambda key: float(models[key]["started"]))
            seconds[judged] += manifest["seconds"]
    pieces = [
        Piece(key, tuple(manifest["inputs"].values()), (manifest["work"] or {}).get("trained", 0), seconds[key])
        for key, manifest in sorted(models.items(), key=lambda item: float(item[1]["started"]))
    ]
    ends = [manifest["started"] + manifest["seconds"] for manifest in manifests]
    return pieces, max(ends) - min(manifest["started"] for manifest in manifests)


def compared(pieces: Sequence[Piece], measured: float, slots: int) -> Mapping[str, float]:
    """What the simulation says of a real run, beside what the clock said."""
    predicted = Simulation(pieces, Pool(nodes=1, slots=slots)).run().seconds
    return {
        "jobs": len(pieces),
        "slots": slots,
        "predicted_seconds": round(predicted, 1),
        "measured_seconds": round(measured, 1),
        "error": round(predicted / measured - 1, 3),
    }


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "store", type=Path, nargs="+", help="folders of stores, each of one run that nobody interrupted"
    )
    parser.add_argument("--slots", type=int, default=2)
    options = parser.parse_args()
    for store in options.store:
        row = compared(*pieces_of(store), options.slots)
        print("  ".join(f"{name}={value}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
