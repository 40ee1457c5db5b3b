"""Searches in the hands of a test: opened in folders or databases, and killed."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bdray.study.search.base import Home, Proposal, Proposer
from bdray.study.search.optuna import OptunaSearch
from bdray.study.search.sampled import SampledSearch
from bdray.study.search.storage import open_storage
from bdray.study.space import Axis

AXES = {
    "a": Axis(low=0, high=1),
    "b": Axis(low=1e-3, high=1.0, log=True),
    "kind": Axis(values=("plain", "deep")),
    "depth": Axis(low=2, high=16, integer=True, step=2, when={"kind": "deep"}),
}
GOALS = {"clean_accuracy_top1": "max", "attack_success_rate_top1": "min"}


def metrics(proposal: Proposal) -> dict[str, float]:
    return {"clean_accuracy_top1": proposal.point["a"], "attack_success_rate_top1": proposal.point["b"]}


def home(folder: Path, storage: str | None = None) -> Home:
    return Home("bdray", folder, storage)


def database(kind: str, folder: Path) -> str | None:
    """Where the history is: a URI, or nothing for a journal."""
    return None if kind == "journal" else f"sqlite:///{folder / 'search.db'}"


def begin(
    folder: Path,
    num_points: int | None = 4,
    *,
    storage: str | None = None,
    goals: Mapping[str, str] = GOALS,
    axes: Mapping[str, Axis] = AXES,
    search: type[SampledSearch] = OptunaSearch,
    **fields: Any,
) -> Proposer:
    found = search(num_points=num_points, **fields)
    found.check(axes, goals)
    return found.open(axes, goals, home(folder, storage))


def ask_all(proposer: Proposer) -> list[Proposal]:
    return list(iter(proposer.ask, None))


def run_all(proposer: Proposer) -> list[Proposal]:
    """Ask for all points, one by one, and tell each."""
    found = []
    for proposal in iter(proposer.ask, None):
        proposer.tell(proposal, metrics(proposal), metrics(proposal))
        found.append(proposal)
    proposer.close()
    return found


def distinct(proposals: list[Proposal]) -> list[Mapping[str, Any]]:
    """Different points, in order."""
    return [p.point for i, p in enumerate(proposals) if p.point not in [q.point for q in proposals[:i]]]


def trials(folder: Path, storage: str | None = None, name: str = "bdray") -> list[Any]:
    """What the history holds."""
    import optuna

    return optuna.load_study(study_name=name, storage=open_storage(storage, folder)).trials


def states(folder: Path, storage: str | None = None, name: str = "bdray") -> list[str]:
    return [trial.state.name for trial in trials(folder, storage, name)]


def in_another_process(work: Callable[[], object], *, killed: bool = True) -> None:
    """Run something in a driver of its own, which then dies without a word, or ends."""

    def run() -> None:
        work()
        if killed:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(120)
    assert process.exitcode == (-signal.SIGKILL if killed else 0), process.exitcode


def interleaved(first: Proposer, second: Proposer) -> Iterator[tuple[Proposer, Proposal]]:
    """Proposals of two drivers in turns, until both have none."""
    left = [first, second]
    while left:
        for proposer in list(left):
            proposal = proposer.ask()
            while proposal is not None and proposal.is_elsewhere:  # found by the other one
                proposal = proposer.ask()
            if proposal is None:
                left.remove(proposer)
            else:
                yield proposer, proposal
