"""What the page of a search has to show."""

from collections.abc import Sequence
from dataclasses import dataclass

from bdray.report.figures import to_svg
from bdray.report.figures.searches import bars, growth, knob_drawings, main_drawing
from bdray.report.figures.sheet import Drawing, compose_sheet
from bdray.report.page import themed
from bdray.report.results import Results
from bdray.report.searches.finding import chance_note
from bdray.report.searches.importance import refusal
from bdray.report.searches.listing import front_table, left_out, reference

Figures = list[tuple[str, str]]
"""Label and svg."""


@dataclass(frozen=True)
class SearchSection:
    """Figures, tables and notes for the template."""

    main: Figures
    is_front: bool
    """Whether the main figure has two objectives."""
    has_constraints: bool
    has_intervals: bool
    header: list[str]
    front: list[list[str]]
    notes: list[str]
    growth: Figures
    reference: str
    bars: Figures
    chance: str
    refusal: str
    """Why there are no importances; empty if there are."""
    slices: Figures


def search_section(results: Results) -> SearchSection | None:
    """The section; None for a grid, and before the first point is complete."""
    found = results.searched
    if found is None or not found.complete:
        return None
    header, front = front_table(found)
    return SearchSection(
        main=_inline([[main_drawing(found)]], "search"),
        is_front=len(found.objectives) > 1,
        has_constraints=bool(found.bounds),
        has_intervals=any(value.n > 1 for tried in found.complete for value in tried.values),
        header=header,
        front=front,
        notes=left_out(found),
        growth=_inline([[drawing] for drawing in growth(found)], "growth"),
        reference=reference(found),
        bars=_inline([[drawing] for drawing in bars(found)], "importances"),
        chance=chance_note(),
        refusal=refusal(found),
        slices=_inline(knob_drawings(found), "slices"),
    )


def _inline(groups: Sequence[Sequence[Drawing]], name: str) -> Figures:
    """Each group as an svg of its own, its drawings one below the other, so that a phone can stack the groups."""
    return [
        (f"{group[0].title}: {group[0].subtitle}", themed(to_svg(compose_sheet(group), f"{name}{index}")))
        for index, group in enumerate(groups)
    ]
