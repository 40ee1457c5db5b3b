"""The examples of CONTRIBUTING.md and README.md do what they say, saved as they are."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USE = """
import {type}, torch
from bdray import config
from bdray.attacks.attack import Attack

attack = config.build(Attack, {{"trigger": {{"type": "{type}", {field}}}, "num_poisoned": 1}}, "test")
print(attack.trigger.apply(torch.zeros(1, 3, 1, 2), torch.tensor([0])).flatten().tolist())
"""


@pytest.mark.parametrize(
    ("file", "type_", "field", "pixels"),
    [
        # It mixes in a quarter of red.
        ("CONTRIBUTING.md", "tint", '"alpha": 0.25', [0.25, 0.25, 0.0, 0.0, 0.0, 0.0]),
        # The second of two columns becomes white.
        ("README.md", "stripe", '"column": 1', [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]),
    ],
)
def test_example_trigger(tmp_path: Path, file: str, type_: str, field: str, pixels: list[float]) -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / file).read_text(encoding="utf-8"), re.DOTALL)
    assert example
    (tmp_path / f"{type_}.py").write_text(example[1], encoding="utf-8")
    # In a process of its own, because a trigger that is defined is registered for good.
    use = USE.format(type=type_, field=field)
    done = subprocess.run([sys.executable, "-c", use], cwd=tmp_path, capture_output=True, text=True, check=True)
    # It is found by its type, and its field is set.
    assert done.stdout.strip() == str(pixels)
