"""The smallest experiment that goes through all stages: two steps of training each, about a second in all."""

from typing import Any

import pytest

from bdray import config
from bdray.pipeline.experiment import Experiment

RECIPE = {"epochs": 1, "batch_size": 32, "learning_rate": 1e-3}
TREE: dict[str, Any] = {
    "data": {"type": "scenes", "num_train": 64, "num_finetune": 64, "num_validation": 16, "num_test": 32},
    "model": {"architecture": "scenes-rn8"},
    "pretrain": {"recipe": RECIPE},
    "attack": {"trigger": {"type": "badnet", "size": 6}, "num_poisoned": 8},
    "victim": {"recipe": RECIPE},
    "defense": {"type": "cleanclip", "recipe": RECIPE},
    "evaluation": {"epoch_images": 16},
}


class Make:
    """Builds the experiment, with changes by dotted path."""

    tree = TREE

    def __call__(self, changes: dict[str, Any] | None = None) -> Experiment:
        tree = TREE
        for path, value in (changes or {}).items():
            tree = config.set_dotted(tree, path, value)
        return config.build(Experiment, tree, "test")


@pytest.fixture(scope="session")
def make() -> Make:
    """Builds the experiment, with changes by dotted path."""
    return Make()
