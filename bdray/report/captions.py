"""What tables and figures say of their intervals."""

from collections.abc import Sequence

from bdray.report.sampling import NOTE
from bdray.report.statistics import Interval

SINGLE_SEED = "Single seed, so without intervals."
KINDS: dict[Interval, str] = {"t": "95% t-interval", "bootstrap": "95% bootstrap interval (t below 4 seeds)"}
MEANS: dict[Interval, str] = {
    "t": "Mean over seeds ± half of the 95% t-interval.",
    "bootstrap": "Mean over seeds with its 95% bootstrap interval (BCa), or ± half of the t-interval below 4 seeds.",
}
NOTES: dict[Interval, str] = {
    "t": "Mean over seeds ± Student's t at 95%. It can reach beyond 0 or 100%, where figures cut it off.",
    "bootstrap": "Mean over seeds with a BCa bootstrap at 95%, which stays within what was seen and is too short for "
    "few seeds; below 4 seeds Student's t.",
}
"""The same in more words."""


def caption_of(seeds: Sequence[int], interval: Interval, *, is_sampled: bool) -> str:
    """A table's, by the number of seeds of each row and by whether single seeds have intervals of sampled images."""
    caption = MEANS[interval]
    if any(count == 1 for count in seeds):
        caption = f"{caption} A single seed has no interval." if any(count > 1 for count in seeds) else SINGLE_SEED
    return f"{caption} {NOTE}" if is_sampled else caption
