"""What a single model's rates are worth: intervals for the sampling of the images that it was judged on."""

import math
from typing import TYPE_CHECKING

from bdray.report.intervals import wilson

if TYPE_CHECKING:
    import pandas as pd

NUM_IMAGES, NUM_OTHERS = "num_images", "num_non_target_images"
"""Columns of ``results.csv``: images that a model was judged on, and those that do not show the target anyway. Results
of older versions lack them."""
COUNTS = (NUM_IMAGES, NUM_OTHERS)
OF_IMAGES = ("clean_accuracy_", "attack_success_rate_include_target_")
OF_OTHERS = ("attack_success_rate_top", "chance_attack_success_rate_top")
"""How the names of rates start, by the images that they are shares of."""
NOTE = "In brackets a single seed's 95% Wilson interval: of the sampling of images only, not of trainings."


def count_column(metric: str) -> str | None:
    """The column that holds how many images a rate is a share of; None for any other metric."""
    name = metric.removeprefix("base_")  # the clean model's, on the same images
    if name.startswith(OF_IMAGES):
        return NUM_IMAGES
    return NUM_OTHERS if name.startswith(OF_OTHERS) else None


def image_interval(models: "pd.DataFrame", metric: str) -> tuple[float, float] | None:
    """Wilson's interval of the only model of a frame that has the metric; None if there are several, or no count."""
    present = models[models[metric].notna()]
    column = count_column(metric)
    if len(present) != 1 or column is None or column not in present.columns:
        return None
    n = present[column].iloc[0]
    return None if math.isnan(n) or n < 1 else wilson(float(present[metric].iloc[0]), int(n))
