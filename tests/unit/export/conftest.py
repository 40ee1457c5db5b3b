"""Poisoned sets small enough to be exported in a blink: 48 of 64 scenes, 8 of them poisoned."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdray import config
from bdray.export import write
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages import Context
from bdray.pipeline.store import Store

RECIPE = "{epochs: 1, batch_size: 32, learning_rate: 1e-3}"
TINY = f"""
data: {{type: scenes, num_train: 64, num_finetune: 64, num_validation: 16, num_test: 32}}
model: {{architecture: scenes-rn8}}
attack:
  trigger: {{type: badnet, size: 6, pattern: per_image}}
  num_poisoned: 8
victim: {{num_samples: 48, recipe: {RECIPE}}}
defense: null
"""
LEARNED = f"""
base: tiny
pretrain: {{recipe: {RECIPE}}}
attack: {{trigger: {{type: badclip, size: 6, epochs: 1, batch_size: 2, num_samples: 4}}, target: ball}}
"""

Make = Callable[..., Experiment]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with two bases in it."""
    (tmp_path / "studies" / "base").mkdir(parents=True)
    for name, text in {"tiny": TINY, "learned": LEARNED}.items():
        (tmp_path / "studies" / "base" / f"{name}.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def make(workplace: Path) -> Make:
    """Builds the experiment of a base, with changes by dotted path."""
    from bdray.study.spec import base_tree

    def build(changes: dict[str, Any] | None = None, base: str = "tiny") -> Experiment:
        tree = base_tree(workplace / "studies", base, "test")
        for path, value in (changes or {}).items():
            tree = config.set_dotted(tree, path, value, Experiment)
        return config.build(Experiment, tree, "test")

    return build


@pytest.fixture
def context(tmp_path: Path, cache: Path) -> Context:
    return Context(Store(str(tmp_path / "store"), cache), cache)


@pytest.fixture
def exported(make: Make, context: Context, tmp_path: Path) -> Path:
    """A finished export of the tiny base."""
    write(make(), tmp_path / "exported", context)
    return tmp_path / "exported"
