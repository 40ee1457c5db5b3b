"""Colors that the color-blind can tell apart, each with a twin for dark pages.

Figures are drawn in the first of each pair; a report's page replaces it by the second in dark mode.
"""

INK = ("#1b2733", "#e6ebf0")
MUTED = ("#66727f", "#9da9b5")
GRID = ("#e4e8ec", "#303b46")
MEASURED = ("#0a66b0", "#62b5f7")
PUBLISHED = ("#c4501b", "#f6996a")
VICTIM = ("#4d5966", "#b9c3cd")
MEASURED_BAR = ("#a8cae8", "#2a5c86")
VICTIM_BAR = ("#d2d7dc", "#47535f")

ORDERED = (
    ("#3b2a78", "#a79bf0"),
    ("#2f5f9e", "#7fb0f0"),
    ("#1f8a8c", "#4fc4c0"),
    ("#3f9c4f", "#7fd48a"),
    ("#a08a00", "#dcc94a"),
    ("#d0661e", "#f5a468"),
    ("#a61c3c", "#f07f97"),
)
"""From cold to warm, darkest and lightest kept readable on both pages."""

PAIRS = (INK, MUTED, GRID, MEASURED, PUBLISHED, VICTIM, MEASURED_BAR, VICTIM_BAR, *ORDERED)


def ordered(count: int) -> list[str]:
    """Colors for ``count`` ordered lines, as far apart as the ramp allows; they repeat beyond its length."""
    last = len(ORDERED) - 1
    if count > len(ORDERED):
        return [ORDERED[index % len(ORDERED)][0] for index in range(count)]
    return [ORDERED[round(index * last / max(count - 1, 1))][0] for index in range(count)]
