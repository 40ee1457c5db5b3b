"""Labels beside the ends of lines, in the lines' colors, instead of a legend."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONT_SIZE = 8.5
MAX_CHARACTERS = 19
"""What fits beside a panel; longer names are broken."""
LINE_HEIGHT = 1.32
"""Of the font size, with the space to the next label."""


@dataclass(frozen=True)
class Label:
    """The name of a line, written beside its end."""

    text: str
    color: str
    y: float
    """Where the line ends, in data units."""
    weight: str = "normal"


def label_ends(axes: "Axes", labels: Sequence[Label]) -> None:
    """Write labels into the right margin, moved apart where they would overlap. Call it when the limits are final."""
    figure = axes.get_figure(root=True)
    if not labels or figure is None:
        return
    height = axes.get_position().height * figure.get_figheight() * 72
    low, high = axes.get_ylim()
    order = [replace(label, text=_wrap(label.text)) for label in sorted(labels, key=lambda label: label.y)]
    ends = [(label.y - low) / (high - low) for label in order]
    heights = [(label.text.count("\n") + 1) * FONT_SIZE * LINE_HEIGHT / height for label in order]
    for label, end, place in zip(order, ends, spread(ends, heights), strict=True):
        axes.plot(
            [1.0, 1.028], [end, place], transform=axes.transAxes, color=label.color, lw=0.7, alpha=0.6, clip_on=False
        )
        axes.text(
            1.036, place, label.text, transform=axes.transAxes, color=label.color, fontsize=FONT_SIZE,
            fontweight=label.weight, linespacing=1.1, va="center_baseline" if "\n" not in label.text else "center",
        )  # fmt: skip


def _wrap(text: str) -> str:
    return "\n".join(textwrap.fill(line, MAX_CHARACTERS) for line in text.split("\n"))


def spread(centers: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Move sorted intervals apart as little as is simple, within [0, 1] if they fit.

    Neighbors that touch become a block centered on the mean of its members' wishes.
    """
    blocks: list[tuple[list[float], list[float]]] = []
    for center, height in zip(centers, heights, strict=True):
        blocks.append(([center], [height]))
        while len(blocks) > 1 and _bottom(blocks[-1]) < _top(blocks[-2]):
            wishes, sizes = blocks.pop()
            blocks[-1] = (blocks[-1][0] + wishes, blocks[-1][1] + sizes)
    places: list[float] = []
    for block in blocks:
        bottom = _bottom(block)
        for size in block[1]:
            places.append(bottom + size / 2)
            bottom += size
    return places


def _bottom(block: tuple[list[float], list[float]]) -> float:
    """Lower end of a block, kept inside [0, 1] where it fits."""
    wishes, sizes = block
    total = sum(sizes)
    return max(0.0, min(sum(wishes) / len(wishes) - total / 2, 1 - total))


def _top(block: tuple[list[float], list[float]]) -> float:
    return _bottom(block) + sum(block[1])
