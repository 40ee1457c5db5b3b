"""What the terminal says of a study before it runs: its plan and its price."""

import math
import os

from rich.console import Console

from bdray.cli import count
from bdray.pipeline.store import Store
from bdray.study.plan import Plan, plan
from bdray.study.price import Price, price, show_time
from bdray.study.search.base import Proposal
from bdray.study.search.sampled import SampledSearch
from bdray.study.space import probes
from bdray.study.spec import LoadedStudy


def say_plan(loaded: LoadedStudy, known: Plan, console: Console, *, with_price: bool = False) -> None:
    """Title, number of trials, and what will be computed; if asked, its price by kind of stage and how it is known."""
    study, seeds, cpus = loaded.study, len(loaded.study.seeds), len(os.sched_getaffinity(0))
    console.print(f"[bold]{loaded.name}[/]: {study.title}" + (f" [dim]({study.source})[/]" if study.source else ""))
    if loaded.runtime.address is None and (loaded.runtime.cpus or 0) > cpus:
        console.print(
            f"[yellow]cpus={loaded.runtime.cpus}: this process may use {cpus}, which trials will share, so that times "
            "will be longer than told[/]",
            highlight=False,
        )
    if isinstance(study.search, SampledSearch):
        ends = " or ".join(study.search.ends(loaded.runtime.training.meter.unit).values())
        console.print(
            f"points x {count(seeds, 'seed')}, chosen as it goes ({study.search.method}), until {ends}", highlight=False
        )
        if with_price:
            _say_search(loaded, console)
        return
    found = _price(loaded, known) if known.missing else None
    points = study.search.planned(study.axes) or 0
    rest = f", {len(known.missing)} to compute: {_duration(loaded, found)}" if found else ": nothing to compute"
    console.print(
        f"{count(points, 'point')} x {count(seeds, 'seed')} = {count(points * seeds, 'trial')}; "
        f"{count(len(known.jobs), 'stage')}, {len(known.finished)} in the store{rest}",
        highlight=False,
    )
    if found and with_price:
        console.print(found.to_rich(), highlight=False)
        console.print(found.basis, style="dim", highlight=False)


def _say_search(loaded: LoadedStudy, console: Console) -> None:
    """A trial's price, for the points of a search are not known beforehand, but the ends of its space are."""
    store = Store(loaded.runtime.store_uri, loaded.runtime.cache)
    ends = plan(loaded, (Proposal(number, point) for number, point in enumerate(probes(loaded.study.axes))), store)
    found = _price(loaded, Plan(ends.jobs, frozenset()))
    if math.isnan(found.trial_seconds):
        return
    text = f"a trial takes about {show_time(found.trial_seconds)} after its victim"
    if points := loaded.study.search.planned(loaded.study.axes):
        trials, rate = points * len(loaded.study.seeds), loaded.runtime.training.meter.rate
        text += f", {count(trials, 'trial')} {show_time(trials * rate * found.trial_seconds)} of {found.unit} time"
    console.print(f"{text}, less what is stopped early", highlight=False)
    console.print(found.basis, style="dim", highlight=False)


def _price(loaded: LoadedStudy, known: Plan) -> Price:
    runtime = loaded.runtime
    return price(known, runtime.training, runtime.local_slots, Store(runtime.store_uri, runtime.cache))


def _duration(loaded: LoadedStudy, found: Price) -> str:
    """``about 8 min on 2 slots``, ``about 31.0 h of GPU time; how long depends on the cluster``."""
    slots = loaded.runtime.local_slots
    if slots is None:
        return f"about {show_time(3600 * found.hours)} of {found.unit} time; how long depends on the cluster"
    if found.wall_seconds < 60:
        return "under a minute"
    return f"about {show_time(found.wall_seconds)} on {count(slots, 'slot')}"
