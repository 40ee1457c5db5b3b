"""What was seen of data, as a table for people."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from bdray.data.inspection import Inspection
from bdray.data.named import Named

FREQUENT = 10
"""Words that are shown."""


def has_failed(named: Named, found: Inspection) -> bool:
    """Whether a run on these data would be refused, as far as was seen, or trains on less than its author thinks."""
    is_damaged = "damaged shard" in found.tally.counts
    return found.bad_share > named.draw.max_bad_share or is_damaged or _shortage(named, found) > 0


def describe(named: Named, found: Inspection) -> Table:
    """The table."""
    table = Table(title=escape(named.name), title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    draw, shortage = named.draw, _shortage(named, found)
    table.add_row("candidates", f"{found.available:,}" + ("" if named.is_whole else f", {draw.count:,} are drawn"))
    if shortage > 0:
        table.add_row("", f"[red]about {shortage:,} too few[/]")
    table.add_row("examined", f"{found.examined:,} in {found.seconds:.1f} s")
    style = "red" if found.bad_share > draw.max_bad_share else "green"
    limit = f"at most {draw.max_bad_share:.1%} may be"
    table.add_row("bad", f"[{style}]{found.tally.total:,} ({found.bad_share:.1%})[/]; {limit}")
    for line in found.tally.lines(per_kind=5):
        table.add_row("", escape(line))
    if found.captions:
        _add_images(table, found)
        _add_captions(table, found)
    wanted = found.available if named.is_whole else draw.count
    table.add_row("preparation", f"about {_duration(found.seconds_for(wanted))} for {wanted:,} samples on this machine")
    pixels = wanted * 3 * named.picture.size**2
    table.add_row("", f"{pixels / 2**30:,.1f} GiB of pixels at {named.picture.size} px")
    return table


def _add_images(table: Table, found: Inspection) -> None:
    table.add_row("width", _quantiles(found.widths, "px"))
    table.add_row("height", _quantiles(found.heights, "px"))
    table.add_row("ratio", _quantiles([width / height for width, height in _sizes(found)], "", ".2f"))
    table.add_row("file", _quantiles([size / 1024 for size in found.sizes], "KiB"))
    if len(found.labels) > 1:
        counts = sorted(found.labels.values())
        table.add_row("classes", f"{len(counts)} seen, of {counts[0]} to {counts[-1]} images")


def _sizes(found: Inspection) -> Sequence[tuple[int, int]]:
    return list(zip(found.widths, found.heights, strict=True))


def _add_captions(table: Table, found: Inspection) -> None:
    words = found.vocabulary
    table.add_row("caption", _quantiles([len(caption.split()) for caption in found.captions], "words"))
    table.add_row("", _quantiles([len(caption) for caption in found.captions], "characters"))
    frequent = ", ".join(word for word, _ in words.most_common(FREQUENT))
    table.add_row("vocabulary", escape(f"{len(words):,} words: {frequent}"))
    table.add_row("repeated", f"{found.repeated_captions:,} of {len(found.captions):,} captions came before")


def _quantiles(values: Sequence[float], unit: str, form: str = ".0f") -> str:
    """Smallest, 5%, median, 95% and largest."""
    ranked = sorted(values)
    shown = [format(ranked[round(share * (len(ranked) - 1))], form) for share in (0, 0.05, 0.5, 0.95, 1)]
    low, few, middle, many, high = shown
    return f"median {middle} {unit}".strip() + f"; nine in ten {few} to {many}; all {low} to {high}"


def _shortage(named: Named, found: Inspection) -> int:
    """Samples that will be missing, if the rest is like what was seen."""
    if named.is_whole:
        return 0
    good = 1 - found.bad_share
    return sum(max(0, lane.count - round(len(lane.order) * good)) for lane in named.draw.lanes)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
